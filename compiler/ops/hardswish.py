from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Hardswish(Unary):
    """y = x * clip(x / 6 + 1/2, 0, 1). x: float, any shape. Source: torch.nn.functional.hardswish."""

    name = "hardswish"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Mul", x, g("HardSigmoid", x, alpha=1 / 6, beta=0.5))
