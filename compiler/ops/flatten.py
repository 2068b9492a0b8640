from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, OpError, axis
from lamina.schema.dims import TensorType, product


class Flatten(Op):
    """Dimensions `start` to `end`, both included, as one. x: any dtype and shape. Source: torch.nn.Flatten, whose default `start` is 1."""

    name = "flatten"
    start: int = 1
    end: int = -1
    examples = (
        Example({}, ["float32[b, 3, 4]"]),
        Example({"start": 2}, ["float32[b, 3, h, w]"]),
        Example({"start": 0, "end": 1}, ["int64[b, t, 5]"]),
        Example({"start": 0}, ["float32[b, h, w]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        first, last = axis(self.start, x, "start"), axis(self.end, x, "end")
        if first > last:
            raise OpError(f"`start` is {self.start}, which comes after `end`, {self.end}, in {x}")
        return x.with_shape((*x.shape[:first], product(x.shape[first : last + 1]), *x.shape[last + 1 :]))

    def integers(self, y: TensorType, x: Known) -> Known:
        return moved(x)

    def define(self, g: Builder, x: Value) -> Value:
        return g.reshape(x, self.infer(TensorType(x.dtype, x.shape)).shape)
