from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_held
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, single
from lamina.compiler.op import Example, Op, SizeArg
from lamina.compiler.rules import sizes
from lamina.schema.dims import DType, TensorType


class Full(Op):
    """A tensor with one value everywhere. shape: sizes, which may be dynamic. Source: torch.full."""

    name = "full"
    shape: list[SizeArg]
    value: bool | int | float
    dtype: DType = "float32"
    examples = (
        Example({"shape": ["b", "t - 1"], "value": 0.5}, []),
        Example({"shape": [2, 3], "value": -7, "dtype": "int64"}, []),
        Example({"shape": ["t"], "value": True, "dtype": "bool"}, []),
    )

    def infer(self) -> TensorType:
        need_held(self.value, self.dtype, "value", "write dtype='float32'")
        return TensorType(self.dtype, sizes(self.shape))

    def integers(self, y: TensorType) -> Known:
        return single(int(self.value), y.rank)

    def define(self, g: Builder) -> Value:
        return g("Expand", g.constant(self.value, self.dtype), g.shape(self.shape))
