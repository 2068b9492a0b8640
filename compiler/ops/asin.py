from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Asin(Unary):
    """y = asin(x), nan outside -1 to 1. x: float, any shape. Source: torch.asin."""

    name = "asin"
    examples = (Example({}, ["float32[b, 8]"], values="unit"), Example({}, ["float32[t]"], values="unit"))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Asin", x)
