from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import NUMBERS, Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, OpError
from lamina.schema.dims import FLOATS, TensorType


class Clamp(Unary):
    """y = x, no smaller than `min` and no larger than `max`; one of them may be missing. x: numbers, any shape. Source: torch.clamp."""

    name = "clamp"
    dtypes = NUMBERS
    min: float | int | None = None
    max: float | int | None = None
    examples = (
        Example({"min": -0.5, "max": 1}, ["float32[b, 8]"]),
        Example({"min": 0}, ["float32[b, 3, h, w]"]),
        Example({"max": 2}, ["int64[b, t]"]),
        Example({"min": 1.0, "max": -1.0}, ["float32[t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        limits = [limit for limit in (self.min, self.max) if limit is not None]
        if not limits:
            raise OpError("neither `min` nor `max` is given", "write clamp: {min: 0} or clamp(x, 0, 1)", "argument")
        if x.dtype not in FLOATS and any(limit != int(limit) for limit in limits):
            raise OpError(f"the limits {', '.join(map(str, limits))} must be whole numbers, since the input is {x}", code="dtype")
        return super().infer(x)

    def define(self, g: Builder, x: Value) -> Value:
        low, high = (None if limit is None else g.scalar(limit, x) for limit in (self.min, self.max))
        return g("Clip", x, low, high)
