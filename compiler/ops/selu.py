from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Selu(Unary):
    """y = 1.0507 * (x if x > 0 else 1.6733 * (e^x - 1)). x: float, any shape. Source: torch.nn.functional.selu."""

    name = "selu"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Selu", x)
