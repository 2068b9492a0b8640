from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import ORDERED, Unary, need_held
from lamina.compiler.graph import Value
from lamina.compiler.integers import Integers, Known, larger, single, smaller
from lamina.compiler.op import Example, OpError
from lamina.schema.dims import TensorType


class Clamp(Unary):
    """y = x, no smaller than `min` and no larger than `max`; one of them may be missing.

    x: numbers but int16, any shape. Source: torch.clamp.
    """

    name = "clamp"
    dtypes = ORDERED
    min: float | int | None = None
    max: float | int | None = None
    examples = (
        Example({"min": -0.5, "max": 1}, ["float32[b, 8]"]),
        Example({"min": 0}, ["float32[b, 3, h, w]"]),
        Example({"max": 2}, ["int64[b, t]"]),
        Example({"min": 1.0, "max": -1.0}, ["float32[t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        if self.min is None and self.max is None:
            raise OpError("neither `min` nor `max` is given", "write clamp: {min: 0} or clamp(x, 0, 1)", "argument")
        for what, limit in (("min", self.min), ("max", self.max)):
            if limit is not None:
                need_held(limit, x.dtype, what, "convert the input with cast(x, 'float32')")
        return super().infer(x)

    def integers(self, y: TensorType, x: Known) -> Known:
        if x is None:
            return Integers(int(self.min), int(self.max)) if self.min is not None and self.max is not None else None
        x = x if self.min is None else larger(x, single(int(self.min)))
        return x if self.max is None else smaller(x, single(int(self.max)))

    def define(self, g: Builder, x: Value) -> Value:
        low, high = (None if limit is None else g.scalar(limit, x) for limit in (self.min, self.max))
        return g("Clip", x, low, high)
