from __future__ import annotations

from lamina.compiler.bits import both, narrowed
from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, fast_path
from lamina.schema.dims import INTEGERS


class BitwiseAnd(Binary):
    """z = x and y, bit by bit.

    x, y: integers of one dtype, shapes broadcast; z: the same dtype. Source: torch.bitwise_and.
    """

    name = "bitwise_and"
    dtypes = INTEGERS
    examples = (Example({}, ["int64[b, 8]", "int64[b, 8]"]), Example({}, ["int32[b, 1, t]", "int32[t, 1]"]))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("BitwiseAnd", x, y)

    @fast_path("tensorrt")
    def by_arithmetic(self, g: Builder, x: Value, y: Value) -> Value:
        """A plane for each bit: there are no bitwise operators."""
        return narrowed(g, both(g, x, y), x.dtype)
