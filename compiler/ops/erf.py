from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Erf(Unary):
    """y = 2 / sqrt(pi) * integral of e^(-u^2) from 0 to x. x: float, any shape. Source: torch.erf."""

    name = "erf"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Erf", x)
