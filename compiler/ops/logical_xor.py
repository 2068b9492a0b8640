from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import BOOL, Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class LogicalXor(Binary):
    """z = x xor y.

    x, y: bool of one dtype, shapes broadcast; z: the same dtype. Source: torch.logical_xor.
    """

    name = "logical_xor"
    dtypes = BOOL
    examples = (Example({}, ["bool[b, 8]", "bool[b, 8]"]), Example({}, ["bool[b, 1, t]", "bool[t, 1]"]))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("Xor", x, y)
