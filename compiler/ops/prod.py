from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import WIDE
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.compiler.reductions import Reduction


class Prod(Reduction):
    """y = product of x over `dims` (all when None). x: float, int64 or int32, any shape. Source: torch.prod."""

    name = "prod"
    dtypes = WIDE
    examples = (
        Example({}, ["float32[b, 8]"], values="positive"),
        Example({"dims": 1, "keepdim": True}, ["float32[b, 3, h, w]"]),
        Example({"dims": 1}, ["int64[b, 3]"]),
    )

    def define(self, g: Builder, x: Value) -> Value:
        return self.reduce(g, "ReduceProd", x)
