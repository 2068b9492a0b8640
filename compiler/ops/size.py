from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, SizeArg
from lamina.compiler.rules import as_scalar
from lamina.schema.dims import DType, TensorType


class Size(Op):
    """A size as a scalar tensor: what `x / shape(x)[0]` divides by. dtype: any but bool. Source: torch.Tensor.size."""

    name = "size"
    size: SizeArg
    dtype: DType = "int64"
