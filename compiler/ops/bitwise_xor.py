from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.schema.dims import INTEGERS


class BitwiseXor(Binary):
    """z = x xor y, bit by bit.

    x, y: integers of one dtype, shapes broadcast; z: the same dtype. Source: torch.bitwise_xor.
    """

    name = "bitwise_xor"
    dtypes = INTEGERS
    examples = (Example({}, ["int64[b, 8]", "int64[b, 8]"]), Example({}, ["int32[b, 1, t]", "int32[t, 1]"]))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("BitwiseXor", x, y)
