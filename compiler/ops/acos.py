from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Acos(Unary):
    """y = acos(x), nan outside -1 to 1. x: float, any shape. Source: torch.acos."""

    name = "acos"
    examples = (Example({}, ["float32[b, 8]"], values="unit"), Example({}, ["float32[t]"], values="unit"))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Acos", x)
