from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import NUMBERS, Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Abs(Unary):
    """y = |x|. x: a number, any shape. Source: torch.abs."""

    name = "abs"
    dtypes = NUMBERS
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["int64[b, t]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Abs", x)
