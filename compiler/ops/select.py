from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, evenly, some
from lamina.compiler.op import Example, Op, OpError, SizeArg, axis
from lamina.compiler.rules import as_scalar, at_most
from lamina.schema.dims import Dim, TensorType, compare


class Select(Op):
    """x[index] along `dim`, which goes; a negative index counts from the end. x: any dtype and shape. Source: torch.select."""

    name = "select"
    dim: int
    index: SizeArg
    examples = (
        Example({"dim": 1, "index": 0}, ["float32[b, 8]"]),
        Example({"dim": 1, "index": -1}, ["float32[b, t, 3]"]),
        Example({"dim": -1, "index": "t - 2"}, ["int64[b, t]"]),
        Example({"dim": 0, "index": 3}, ["float32[t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        at = axis(self.dim, x)
        size = x.shape[at]
        if not (at_most(-size, self.index) and at_most(self.index + 1, size)):
            hint = "" if isinstance(size, Dim) else f"use -{size} to {size - 1}"
            raise OpError(f"`index` is {self.index}, but dimension {at} of {x} has size {size}", hint)
        return x.with_shape((*x.shape[:at], *x.shape[at + 1 :]))

    def integers(self, y: TensorType, x: Known) -> Known:
        if x is None or x.even is None or not compare(self.index, ">=", 0):
            return some(x)
        at = self.dim % (y.rank + 1)
        steps = [step for i, step in enumerate(x.even.steps) if i != at]
        return evenly(y.shape, x.even.first + x.even.steps[at] * self.index, steps)

    def define(self, g: Builder, x: Value) -> Value:
        size = x.shape[self.dim]
        fixed = isinstance(size, int) and isinstance(self.index, int)
        return g("Gather", x, as_scalar(g, self.index % size if fixed else self.index, "int64"), axis=self.dim)
