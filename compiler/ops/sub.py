from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, negative, plus
from lamina.compiler.op import Example
from lamina.schema.dims import TensorType


class Sub(Binary):
    """z = x - y.

    x, y: numbers of one dtype, shapes broadcast; z: the same dtype. Source: torch.sub.
    """

    name = "sub"
    examples = (
        Example({}, ["float32[b, 8]", "float32[b, 8]"]),
        Example({}, ["float32[b, 3, h, w]", "float32[3, 1, w]"]),
        Example({}, ["int64[b, t]", "int64[]"]),
    )

    def integers(self, z: TensorType, x: Known, y: Known) -> Known:
        return plus(z.shape, x, negative(y))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("Sub", x, y)
