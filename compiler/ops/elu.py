from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Elu(Unary):
    """y = x if x > 0 else alpha * (e^x - 1). x: float, any shape. Source: torch.nn.functional.elu."""

    name = "elu"
    alpha: float = 1.0
    examples = (Example({}, ["float32[b, 8]"]), Example({"alpha": 0.5}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Elu", x, alpha=self.alpha)
