from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import BOOL, ORDERED, need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, some
from lamina.compiler.op import Example, Op, broadcast
from lamina.schema.dims import TensorType


class Where(Op):
    """z = x where the condition holds, else y. condition: bool; x, y: one dtype, any but int16; shapes broadcast. Source: torch.where."""

    name = "where"
    examples = (
        Example({}, ["bool[b, 8]", "float32[b, 8]", "float32[]"]),
        Example({}, ["bool[b, 1, t]", "int64[3, 1]", "int64[b, 3, t]"]),
        Example({}, ["bool[t]", "float32[b, 1]", "float32[]"]),
        Example({}, ["bool[b, 1]", "bool[b, t]", "bool[t]"]),
    )

    def infer(self, condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
        need_dtype(condition, BOOL, "the condition")
        need_dtype(x, (*ORDERED, *BOOL), "x")
        dtype = same_dtype(x, y)
        return TensorType(dtype, broadcast(condition, TensorType(dtype, broadcast(x, y))))

    def integers(self, z: TensorType, _: Known, x: Known, y: Known) -> Known:
        return some(x, y)

    def define(self, g: Builder, condition: Value, x: Value, y: Value) -> Value:
        if x.dtype == "bool":  # ONNX Runtime has no kernel for it
            return g("Or", g("And", condition, x), g("And", g("Not", condition), y))
        return g("Where", condition, x, y)
