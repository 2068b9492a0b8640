from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, fast_path


class Expm1(Unary):
    """y = e^x - 1, accurate near 0. x: float, any shape. Source: torch.expm1."""

    name = "expm1"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        # e^x - 1 = tanh(x / 2) (e^x + 1), which does not cancel near 0.
        half = g("Mul", x, g.scalar(0.5, x))
        return g("Mul", g("Tanh", half), g("Add", g("Exp", x), g.scalar(1, x)))

    @fast_path("torch")
    def library(self, g: Builder, x: Value) -> Value:
        return g("expm1", x, domain="torch")
