from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Comparison
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class NotEqual(Comparison):
    """z = x != y.

    x, y: tensors of one dtype, shapes broadcast; z: bool. Source: torch.ne.
    """

    name = "not_equal"
    examples = (
        Example({}, ["float32[b, 8]", "float32[b, 8]"]),
        Example({}, ["float32[b, 3, h, w]", "float32[3, 1, w]"]),
        Example({}, ["int64[b, t]", "int64[]"]),
        Example({}, ["bool[b, 8]", "bool[8]"]),
    )

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("Not", g("Equal", x, y))
