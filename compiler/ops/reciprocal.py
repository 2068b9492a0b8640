from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Reciprocal(Unary):
    """y = 1 / x. x: float, any shape. Source: torch.reciprocal."""

    name = "reciprocal"
    examples = (Example({}, ["float32[b, 8]"], values="positive"), Example({}, ["float32[b, t, 5]"], values="positive"))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Reciprocal", x)
