from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import BOOL, Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class LogicalNot(Unary):
    """y = not x. x: bool, any shape. Source: torch.logical_not."""

    name = "logical_not"
    dtypes = BOOL
    examples = (Example({}, ["bool[b, 8]"]), Example({}, ["bool[t]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Not", x)
