from __future__ import annotations

from lamina.compiler.bits import as_int64, both, narrowed
from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, fast_path
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

    @fast_path("tensorrt")
    def by_arithmetic(self, g: Builder, x: Value, y: Value) -> Value:
        """x + y - 2 * (x and y): there are no bitwise operators."""
        total, shared = g("Add", as_int64(g, x), as_int64(g, y)), both(g, x, y)
        return narrowed(g, g("Sub", total, g("Add", shared, shared)), x.dtype)
