from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Tan(Unary):
    """y = tan(x). x: float, any shape. Source: torch.tan."""

    name = "tan"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Tan", x)
