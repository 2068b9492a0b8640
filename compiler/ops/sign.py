from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import NUMBERS, Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Sign(Unary):
    """y = -1, 0 or 1, as x is negative, zero or positive. x: a number, any shape. Source: torch.sign."""

    name = "sign"
    dtypes = NUMBERS
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["int64[b, t]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Sign", x)
