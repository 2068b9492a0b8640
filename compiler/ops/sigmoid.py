from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Sigmoid(Unary):
    """y = 1 / (1 + e^-x). x: float, any shape. Source: torch.sigmoid."""

    name = "sigmoid"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Sigmoid", x)
