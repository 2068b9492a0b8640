from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, single
from lamina.compiler.op import Example, Op, SizeArg
from lamina.compiler.rules import sizes
from lamina.schema.dims import DType, TensorType


class Zeros(Op):
    """A tensor of zeros. shape: sizes, which may be dynamic. Source: torch.zeros."""

    name = "zeros"
    shape: list[SizeArg]
    dtype: DType = "float32"
    examples = (
        Example({"shape": ["b", 8]}, []),
        Example({"shape": [2, 3], "dtype": "int64"}, []),
        Example({"shape": [], "dtype": "bool"}, []),
    )

    def infer(self) -> TensorType:
        return TensorType(self.dtype, sizes(self.shape))

    def integers(self, y: TensorType) -> Known:
        return single(0, y.rank)

    def define(self, g: Builder) -> Value:
        return g("Expand", g.constant(0, self.dtype), g.shape(self.shape))
