from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Relu(Unary):
    """y = max(x, 0). x: float, any shape. Source: torch.nn.functional.relu."""

    name = "relu"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Relu", x)
