from __future__ import annotations

from lamina.compiler.bits import as_int64, narrowed
from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.schema.dims import INTEGERS


class ShiftLeft(Binary):
    """z = x * 2^y, bits beyond the dtype's width lost.

    x, y: integers of one dtype, 0 <= y < 63; shapes broadcast. Source: torch.bitwise_left_shift.
    """

    name = "shift_left"
    dtypes = INTEGERS
    examples = (Example({}, ["int64[b, 8]", "int64[8]"], values="index:7"), Example({}, ["uint8[b, t]", "uint8[]"], values="index:5"))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        # ONNX shifts unsigned integers only.
        wide, places = as_int64(g, x), as_int64(g, y)
        z = g("Mul", wide, g("Pow", g.constant(2, "int64"), places))
        return narrowed(g, z, x.dtype)
