from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import WIDE, need_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, axis
from lamina.schema.dims import TensorType


class Cumsum(Op):
    """y[i] = x[0] + ... + x[i] along `dim`.

    `exclusive` leaves x[i] itself out, `reverse` sums from the end. x: float, int64 or int32, any shape but a scalar. Source: torch.cumsum.
    """

    name = "cumsum"
    dim: int
    exclusive: bool = False
    reverse: bool = False
    examples = (
        Example({"dim": 1}, ["float32[b, 8]"]),
        Example({"dim": -2, "reverse": True}, ["float32[b, t, 3]"]),
        Example({"dim": 0, "exclusive": True}, ["int64[t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_dtype(x, WIDE)
        axis(self.dim, x)
        return x

    def define(self, g: Builder, x: Value) -> Value:
        dim = g.constant(self.dim % x.rank, "int64")
        return g("CumSum", x, dim, exclusive=int(self.exclusive), reverse=int(self.reverse))
