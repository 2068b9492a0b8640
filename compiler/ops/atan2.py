from __future__ import annotations

import math

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, broadcast, fast_path
from lamina.schema.dims import FLOATS, TensorType


class Atan2(Op):
    """z = the angle of the point (x, y), -pi to pi; 0 at the origin. y, x: float of one dtype, shapes broadcast. Source: torch.atan2."""

    name = "atan2"
    examples = (Example({}, ["float32[b, 8]", "float32[b, 8]"]), Example({}, ["float32[b, 1, t]", "float32[3, 1]"]))

    def infer(self, y: TensorType, x: TensorType) -> TensorType:
        need_dtype(y, FLOATS)
        return TensorType(same_dtype(y, x), broadcast(y, x))

    def define(self, g: Builder, y: Value, x: Value) -> Value:
        zero, pi = g.scalar(0, x), g.scalar(math.pi, x)
        origin = g("And", g("Equal", x, zero), g("Equal", y, zero))
        angle = g("Atan", g("Div", y, g("Where", origin, g.scalar(1, x), x)))
        turn = g("Where", g("Less", y, zero), g("Neg", pi), pi)
        return g("Add", angle, g("Where", g("Less", x, zero), turn, zero))

    @fast_path("torch")
    def library(self, g: Builder, y: Value, x: Value) -> Value:
        return g("atan2", y, x, domain="torch")
