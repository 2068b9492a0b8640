from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.compiler.reductions import ArgReduction


class Argmax(ArgReduction):
    """y = index of the largest x along `dim`, the first one of equals. x: numbers but int16, any shape; y: int64. Source: torch.argmax."""

    name = "argmax"
    examples = (
        Example({"dim": 1}, ["float32[b, 8]"]),
        Example({"dim": -1, "keepdim": True}, ["float32[b, 3, h, w]"]),
        Example({}, ["float32[b, t]"]),
    )

    def define(self, g: Builder, x: Value) -> Value:
        return self.search(g, "ArgMax", x)
