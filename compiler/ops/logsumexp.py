from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.compiler.reductions import Reduction, axes_input
from lamina.schema.dims import FLOATS


class Logsumexp(Reduction):
    """y = log(sum(e^x)) over `dims` (all when None), without overflow. x: float, any shape. Source: torch.logsumexp."""

    name = "logsumexp"
    dtypes = FLOATS
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"dims": [2, 3]}, ["float32[b, 3, h, w]"]),
        Example({"dims": -1, "keepdim": True}, ["float32[b, t]"]),
    )

    def define(self, g: Builder, x: Value) -> Value:
        # The largest element is taken out of the sum; an infinite one stays in, since inf - inf is not a number.
        axes = axes_input(g, self.dims, x)
        top = g("ReduceMax", x, axes, keepdims=1)
        top = g("Where", g("IsInf", top), g.scalar(0, x), top)
        total = g("ReduceSum", g("Exp", g("Sub", x, top)), axes, keepdims=1)
        y = g("Add", g("Log", total), top)
        return y if self.keepdim else g("Squeeze", y, axes)
