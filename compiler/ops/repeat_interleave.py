from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, Positive, axis
from lamina.schema.dims import TensorType


class RepeatInterleave(Op):
    """Every slice along `dim` repeated in place: a a a b b b. x: any dtype, any shape but a scalar. Source: torch.repeat_interleave."""

    name = "repeat_interleave"
    repeats: Positive
    dim: int
    examples = (
        Example({"repeats": 3, "dim": 1}, ["float32[b, 8]"]),
        Example({"repeats": 2, "dim": -2}, ["float32[b, 4, t, 3]"]),
        Example({"repeats": 2, "dim": 0}, ["int64[t]"]),
        Example({"repeats": 1, "dim": 0}, ["int64[t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        at = axis(self.dim, x)
        return x.with_shape((*x.shape[:at], x.shape[at] * self.repeats, *x.shape[at + 1 :]))

    def integers(self, y: TensorType, x: Known) -> Known:
        return moved(x)

    def define(self, g: Builder, x: Value) -> Value:
        if self.repeats == 1:
            return x
        at = self.dim % x.rank
        repeats = [1] * (x.rank + 1)
        repeats[at + 1] = self.repeats
        wide = g("Expand", g("Unsqueeze", x, g.ints(at + 1)), g.ints(*repeats))
        return g.reshape(wide, self.infer(TensorType(x.dtype, x.shape)).shape)
