from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Softshrink(Unary):
    """y = x - threshold where x > threshold, x + threshold where x < -threshold, else 0: the proximal step of threshold * |x|.

    x: float, any shape. Makes activations sparse. Source: torch.nn.functional.softshrink.
    """

    name = "softshrink"
    threshold: float = 0.5
    examples = (Example({}, ["float32[b, 8]"]), Example({"threshold": 0.01}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Sub", x, g("Clip", x, g.scalar(-self.threshold, x), g.scalar(self.threshold, x)))
