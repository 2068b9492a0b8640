from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import WIDE, Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Pow(Binary):
    """z = x^y.

    x, y: float, int64 or int32, of one dtype, shapes broadcast; z: the same dtype. Source: torch.pow.
    """

    name = "pow"
    dtypes = WIDE
    examples = (
        Example({}, ["float32[b, 8]", "float32[b, 8]"], values="positive"),
        Example({}, ["float32[b, 3, h, w]", "float32[3, 1, w]"], values="positive"),
        Example({}, ["int64[b, t]", "int64[]"], values="positive"),
    )

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("Pow", x, y)
