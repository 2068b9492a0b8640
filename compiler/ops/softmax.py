from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, axis
from lamina.schema.dims import TensorType


class Softmax(Unary):
    """y = e^x / sum(e^x) along `dim`. x: float, any shape but a scalar. Source: torch.softmax."""

    name = "softmax"
    dim: int = -1
    examples = (Example({}, ["float32[b, 8]"]), Example({"dim": 1}, ["float32[b, 3, h, w]"]), Example({"dim": -2}, ["float32[b, t, 5]"]))

    def infer(self, x: TensorType) -> TensorType:
        axis(self.dim, x)
        return super().infer(x)

    def define(self, g: Builder, x: Value) -> Value:
        return g("Softmax", x, axis=self.dim)
