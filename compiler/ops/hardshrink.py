from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Hardshrink(Unary):
    """y = x where |x| > threshold, else 0. x: float, any shape. Source: torch.nn.functional.hardshrink."""

    name = "hardshrink"
    threshold: float = 0.5
    examples = (Example({}, ["float32[b, 8]"]), Example({"threshold": 1.0}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Where", g("Greater", g("Abs", x), g.scalar(self.threshold, x)), x, g.scalar(0, x))
