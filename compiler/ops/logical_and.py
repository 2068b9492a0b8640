from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import BOOL, Binary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class LogicalAnd(Binary):
    """z = x and y.

    x, y: bool of one dtype, shapes broadcast; z: the same dtype. Source: torch.logical_and.
    """

    name = "logical_and"
    dtypes = BOOL
    examples = (Example({}, ["bool[b, 8]", "bool[b, 8]"]), Example({}, ["bool[b, 1, t]", "bool[t, 1]"]))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("And", x, y)
