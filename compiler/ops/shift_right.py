from __future__ import annotations

from lamina.compiler.bits import as_int64, narrowed
from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.schema.dims import INTEGERS


class ShiftRight(Binary):
    """z = floor(x / 2^y): the sign stays. x, y: integers of one dtype, 0 <= y < 63; shapes broadcast. Source: torch.bitwise_right_shift."""

    name = "shift_right"
    dtypes = INTEGERS
    examples = (Example({}, ["int64[b, 8]", "int64[8]"], values="index:40"), Example({}, ["uint8[b, t]", "uint8[]"], values="index:7"))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        # ONNX shifts unsigned integers only. Mod is never negative here, so the difference divides exactly.
        wide, places = as_int64(g, x), as_int64(g, y)
        power = g("Pow", g.constant(2, "int64"), places)
        z = g("Div", g("Sub", wide, g("Mod", wide, power)), power)
        return narrowed(g, z, x.dtype)
