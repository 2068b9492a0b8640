from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.schema.dims import TensorType


class Isnan(Unary):
    """y = whether x is not a number. x: float, any shape; y: bool. Source: torch.isnan."""

    name = "isnan"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["float32[t]"]))

    def infer(self, x: TensorType) -> TensorType:
        return TensorType("bool", super().infer(x).shape)

    def define(self, g: Builder, x: Value) -> Value:
        return g("IsNaN", x)
