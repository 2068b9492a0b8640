from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.schema.dims import FLOATS


class Div(Binary):
    """z = x / y (for whole numbers use floor_divide).

    x, y: floats of one dtype, shapes broadcast; z: the same dtype. Source: torch.div.
    """

    name = "div"
    dtypes = FLOATS
    examples = (
        Example({}, ["float32[b, 8]", "float32[b, 8]"], values="positive"),
        Example({}, ["float32[b, 3, h, w]", "float32[3, 1, w]"], values="positive"),
    )

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("Div", x, y)
