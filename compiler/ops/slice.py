from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, evenly, some
from lamina.compiler.op import Example, Op, Positive, SizeArg, axis
from lamina.compiler.rules import at_most, bound
from lamina.schema.dims import TensorType, compare


class Slice(Op):
    """x[start:end:step] along `dim`, with Python's meaning of negative and missing ends.

    x: any dtype and shape. With dynamic sizes, the declared ranges must decide on which side of the dimension's size each end lies.
    Source: Python slices; onnx Slice.
    """

    name = "slice"
    dim: int
    start: SizeArg | None = None
    end: SizeArg | None = None
    step: Positive = 1
    examples = (
        Example({"dim": 1, "start": 2, "end": 6}, ["float32[b, 8]"]),
        Example({"dim": -1, "start": -3}, ["float32[b, t]"]),
        Example({"dim": 1, "end": -1, "step": 2}, ["int64[b, t, 3]"]),
        Example({"dim": 2, "start": "h // 2", "end": 100}, ["float32[b, 3, h, w]"]),
        Example({"dim": 1, "start": "t - 4", "end": "t"}, ["float32[b, t]"]),
        Example({"dim": 1, "start": -20, "end": 3}, ["float32[b, 8]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        at = axis(self.dim, x)
        size = x.shape[at]
        start, end = bound(self.start, size, 0), bound(self.end, size, size)
        length = (end - start + self.step - 1) // self.step if at_most(start, end) else 0
        return x.with_shape((*x.shape[:at], length, *x.shape[at + 1 :]))

    def integers(self, y: TensorType, x: Known) -> Known:
        """Along an axis on which they grow evenly, those of the part; else they are some of x."""
        start = 0 if self.start is None else self.start
        if x is None or x.even is None or not compare(start, ">=", 0):
            return some(x)
        at = axis(self.dim, y)
        steps = [step * self.step if i == at else step for i, step in enumerate(x.even.steps)]
        return evenly(y.shape, x.even.first + x.even.steps[at] * start, steps)

    def define(self, g: Builder, x: Value) -> Value:
        start = g.size(0 if self.start is None else self.start)
        end = g.size(2**63 - 1 if self.end is None else self.end)
        return g("Slice", x, start, end, g.ints(self.dim), g.ints(self.step))
