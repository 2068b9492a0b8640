from __future__ import annotations

from lamina.compiler.bits import as_int64, narrowed
from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, fast_path
from lamina.schema.dims import INTEGERS


class BitwiseNot(Unary):
    """y = every bit of x inverted. x: an integer, any shape. Source: torch.bitwise_not."""

    name = "bitwise_not"
    dtypes = INTEGERS
    examples = (Example({}, ["int64[b, 8]"]), Example({}, ["int32[t]"]), Example({}, ["uint8[t]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("BitwiseNot", x)

    @fast_path("tensorrt")
    def by_arithmetic(self, g: Builder, x: Value) -> Value:
        """-1 - x, or 255 - x: there are no bitwise operators."""
        every = 255 if x.dtype == "uint8" else -1
        return narrowed(g, g("Sub", g.constant(every, "int64"), as_int64(g, x)), x.dtype)
