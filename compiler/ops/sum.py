from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import WIDE
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.compiler.reductions import Reduction


class Sum(Reduction):
    """y = sum of x over `dims` (all when None). x: float, int64 or int32, any shape. Source: torch.sum."""

    name = "sum"
    dtypes = WIDE
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"dims": [-1, 1], "keepdim": True}, ["float32[b, 3, h, w]"]),
        Example({"dims": 0}, ["int64[b, t]"]),
        Example({}, ["float32[]"]),
    )

    def define(self, g: Builder, x: Value) -> Value:
        return self.reduce(g, "ReduceSum", x)
