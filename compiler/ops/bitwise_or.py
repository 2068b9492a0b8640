from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.schema.dims import INTEGERS


class BitwiseOr(Binary):
    """z = x or y, bit by bit.

    x, y: integers of one dtype, shapes broadcast; z: the same dtype. Source: torch.bitwise_or.
    """

    name = "bitwise_or"
    dtypes = INTEGERS
    examples = (Example({}, ["int64[b, 8]", "int64[b, 8]"]), Example({}, ["int32[b, 1, t]", "int32[t, 1]"]))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("BitwiseOr", x, y)
