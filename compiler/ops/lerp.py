from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, broadcast
from lamina.schema.dims import FLOATS, TensorType


class Lerp(Op):
    """z = x + weight * (y - x). x, y, weight: float of one dtype, shapes broadcast. Source: torch.lerp."""

    name = "lerp"
    examples = (
        Example({}, ["float32[b, 8]", "float32[b, 8]", "float32[]"]),
        Example({}, ["float32[b, t, 1]", "float32[b, 1, 3]", "float32[b, t, 3]"], values="positive"),
    )

    def infer(self, x: TensorType, y: TensorType, weight: TensorType) -> TensorType:
        need_dtype(x, FLOATS)
        dtype = same_dtype(x, y, weight)
        return TensorType(dtype, broadcast(TensorType(dtype, broadcast(x, y)), weight))

    def define(self, g: Builder, x: Value, y: Value, weight: Value) -> Value:
        return g("Add", x, g("Mul", weight, g("Sub", y, x)))
