from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Hardtanh(Unary):
    """y = min(max(x, low), high). x: float, any shape. Source: torch.nn.functional.hardtanh."""

    name = "hardtanh"
    low: float = -1.0
    high: float = 1.0
    examples = (Example({}, ["float32[b, 8]"]), Example({"low": -0.5, "high": 2.0}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Clip", x, g.scalar(self.low, x), g.scalar(self.high, x))
