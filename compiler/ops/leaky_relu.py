from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class LeakyRelu(Unary):
    """y = x if x > 0 else slope * x. x: float, any shape. Source: torch.nn.functional.leaky_relu."""

    name = "leaky_relu"
    slope: float = 0.01
    examples = (Example({}, ["float32[b, 8]"]), Example({"slope": 0.2}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("LeakyRelu", x, alpha=self.slope)
