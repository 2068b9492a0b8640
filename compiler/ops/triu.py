from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import BOOL, WIDE, need_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError
from lamina.schema.dims import TensorType


class Triu(Op):
    """x where column - row >= `diagonal`, else 0, in its last two dimensions.

    x: float, int64, int32 or bool, [..., n, m]. Source: torch.triu.
    """

    name = "triu"
    diagonal: int = 0
    examples = (
        Example({}, ["float32[t, t]"]),
        Example({"diagonal": 1}, ["float32[b, 3, h, w]"]),
        Example({"diagonal": -2}, ["int64[b, 5, 6]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_dtype(x, (*WIDE, *BOOL))
        if x.rank < 2:
            raise OpError(f"the input must have at least 2 dimensions, but it is {x}")
        return x

    def define(self, g: Builder, x: Value) -> Value:
        return g("Trilu", x, g.constant(self.diagonal, "int64"), upper=1)
