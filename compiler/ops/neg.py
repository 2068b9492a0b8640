from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import SIGNED, Unary
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, negative
from lamina.compiler.op import Example
from lamina.schema.dims import TensorType


class Neg(Unary):
    """y = -x. x: a number with a sign, any shape. Source: torch.neg."""

    name = "neg"
    dtypes = SIGNED
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["int64[b, t]"]))

    def integers(self, y: TensorType, x: Known) -> Known:
        return negative(x)

    def define(self, g: Builder, x: Value) -> Value:
        return g("Neg", x)
