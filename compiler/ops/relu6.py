from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Relu6(Unary):
    """y = min(max(x, 0), 6). x: float, any shape. Source: torch.nn.functional.relu6."""

    name = "relu6"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Clip", x, g.scalar(0, x), g.scalar(6, x))
