from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, single
from lamina.compiler.op import Example, Op, SizeArg
from lamina.compiler.rules import as_scalar
from lamina.schema.dims import DType, TensorType


class Size(Op):
    """A size, which may be dynamic, as a scalar tensor of any dtype: what `x / shape(x)[0]` divides by. Source: torch.tensor."""

    name = "size"
    size: SizeArg
    dtype: DType = "int64"
    examples = (
        Example({"size": 5}, []),
        Example({"size": "t"}, []),
        Example({"size": "h // 2 + 1", "dtype": "float32"}, []),
    )

    def infer(self) -> TensorType:
        return TensorType(self.dtype, ())

    def integers(self, y: TensorType) -> Known:
        return single(self.size)

    def define(self, g: Builder) -> Value:
        return as_scalar(g, self.size, self.dtype)
