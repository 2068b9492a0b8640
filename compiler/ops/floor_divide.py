from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, quotient
from lamina.compiler.op import Example
from lamina.schema.dims import FLOATS, TensorType


class FloorDivide(Binary):
    """z = floor(x / y), as Python's `//`.

    x, y: numbers of one dtype, shapes broadcast; z: the same dtype. For floats within a rounding error of a whole quotient either neighbour
    may result. Source: torch.floor_divide.
    """

    name = "floor_divide"
    examples = (
        Example({}, ["float32[b, 8]", "float32[b, 8]"]),
        Example({}, ["int64[b, t]", "int64[]"], values="positive"),
        Example({}, ["int32[b, t]", "int32[t]"], values="positive"),
    )

    def integers(self, z: TensorType, x: Known, y: Known) -> Known:
        return quotient(x, y)

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        if x.dtype in FLOATS:
            return g("Floor", g("Div", x, y))
        # ONNX's integer division cuts towards zero; Mod has the sign of y, so the difference divides exactly.
        return g("Div", g("Sub", x, g("Mod", x, y)), y)
