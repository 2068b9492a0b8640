from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.schema.dims import INTEGERS


class BitwiseNot(Unary):
    """y = every bit of x inverted. x: an integer, any shape. Source: torch.bitwise_not."""

    name = "bitwise_not"
    dtypes = INTEGERS
    examples = (Example({}, ["int64[b, 8]"]), Example({}, ["int32[t]"]), Example({}, ["uint8[t]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("BitwiseNot", x)
