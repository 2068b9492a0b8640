from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Binary
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, remainder
from lamina.compiler.op import Example, fast_path
from lamina.schema.dims import INTEGERS, TensorType


class Mod(Binary):
    """z = x - y * floor(x / y): the remainder with the sign of y, as in Python.

    x, y: numbers of one dtype, shapes broadcast; z: the same dtype. Source: torch.remainder.
    """

    name = "mod"
    examples = (
        Example({}, ["float32[b, 8]", "float32[b, 8]"]),
        Example({}, ["float32[b, t]", "float32[]"]),
        Example({}, ["int64[b, t]", "int64[]"], values="positive"),
        Example({}, ["int32[b, t]", "int32[t]"], values="positive"),
    )

    def integers(self, z: TensorType, x: Known, y: Known) -> Known:
        return remainder(x, y)

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        if x.dtype in INTEGERS:
            return g("Mod", x, y)
        # For floats ONNX has only C's fmod, exact but with the sign of x.
        rest = g("Mod", x, y, fmod=1)
        opposite = g("Less", g("Mul", g("Sign", rest), g("Sign", y)), g.scalar(0, x))
        return g("Where", opposite, g("Add", rest, y), rest)

    @fast_path("torch")
    def library(self, g: Builder, x: Value, y: Value) -> Value:
        return g("remainder", x, y, domain="torch")
