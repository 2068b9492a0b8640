from __future__ import annotations

from typing import Literal

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Gelu(Unary):
    """y = x * Phi(x), Phi the normal distribution function, or its tanh form. x: float, any shape. Source: torch.nn.functional.gelu."""

    name = "gelu"
    approximate: Literal["none", "tanh"] = "none"
    examples = (Example({}, ["float32[b, 8]"]), Example({"approximate": "tanh"}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Gelu", x, approximate=self.approximate)
