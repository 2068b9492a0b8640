from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import ORDERED
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.compiler.reductions import Reduction


class Min(Reduction):
    """y = smallest of x over `dims` (all when None). x: numbers but int16, any shape. Source: torch.amin."""

    name = "min"
    dtypes = ORDERED
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"dims": [2, 3]}, ["float32[b, 3, h, w]"]),
        Example({"dims": 0, "keepdim": True}, ["int64[b, t]"]),
    )

    def define(self, g: Builder, x: Value) -> Value:
        return self.reduce(g, "ReduceMin", x)
