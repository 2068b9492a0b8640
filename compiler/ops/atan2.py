from __future__ import annotations

import math

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, broadcast, fast_path
from lamina.schema.dims import FLOATS, TensorType


class Atan2(Op):
    """z = the angle of the point (x, y), -pi to pi, where signs of zeros count. y, x: float of one dtype, shapes broadcast.

    Source: torch.atan2.
    """

    name = "atan2"
    examples = (Example({}, ["float32[b, 8]", "float32[b, 8]"]), Example({}, ["float32[b, 1, t]", "float32[3, 1]"]))

    def infer(self, y: TensorType, x: TensorType) -> TensorType:
        need_dtype(y, FLOATS)
        return TensorType(same_dtype(y, x), broadcast(y, x))

    def define(self, g: Builder, y: Value, x: Value) -> Value:
        zero, one, pi = (g.scalar(value, x) for value in (0, 1, math.pi))
        on_axis = g("Equal", x, zero)
        origin = g("And", on_axis, g("Equal", y, zero))
        # Where x is -0, y / x would have the wrong sign.
        angle = g("Atan", g("Div", y, g("Where", origin, one, g("Where", on_axis, zero, x))))
        left = g("Or", g("Less", x, zero), g("And", origin, _negative(g, x)))
        turn = g("Where", _negative(g, y), g("Neg", pi), pi)
        return g("Where", left, g("Add", angle, turn), angle)

    @fast_path("torch")
    def library(self, g: Builder, y: Value, x: Value) -> Value:
        return g("atan2", y, x, domain="torch")


def _negative(g: Builder, x: Value) -> Value:
    """Whether the sign is a minus, that of -0 too."""
    zero = g.scalar(0, x)
    return g("Or", g("Less", x, zero), g("Less", g("Div", g.scalar(1, x), x), zero))
