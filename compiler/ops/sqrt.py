from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Sqrt(Unary):
    """y = square root of x. x: float, any shape. Source: torch.sqrt."""

    name = "sqrt"
    examples = (Example({}, ["float32[b, 8]"], values="positive"), Example({}, ["float32[b, t, 5]"], values="positive"))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Sqrt", x)
