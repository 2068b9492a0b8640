from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import ORDERED, Binary
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, larger
from lamina.compiler.op import Example
from lamina.schema.dims import TensorType


class Maximum(Binary):
    """z = max(x, y).

    x, y: numbers of one dtype, not int16, shapes broadcast; z: the same dtype. Source: torch.maximum.
    """

    name = "maximum"
    dtypes = ORDERED
    examples = (
        Example({}, ["float32[b, 8]", "float32[b, 8]"]),
        Example({}, ["float32[b, 3, h, w]", "float32[3, 1, w]"]),
        Example({}, ["int64[b, t]", "int64[]"]),
    )

    def integers(self, z: TensorType, x: Known, y: Known) -> Known:
        return larger(x, y)

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("Max", x, y)
