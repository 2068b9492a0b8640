from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, OpError, axis
from lamina.schema.dims import TensorType


class Stack(Op):
    """Tensors one after the other along a new dimension `dim` of the output. xs: one dtype and shape. Source: torch.stack."""

    name = "stack"
    dim: int
    examples = (Example({"dim": 0}, ["float32[b, 8]", "float32[b, 8]"]), Example({"dim": -1}, ["int64[t]", "int64[t]", "int64[t]"]))

    def infer(self, *xs: TensorType) -> TensorType:
        first = xs[0]
        same_dtype(*xs)
        at = axis(self.dim, first.with_shape((*first.shape, 1)))
        for x in xs[1:]:
            if x.shape != first.shape:
                raise OpError(
                    f"{first} and {x} cannot be stacked: their shapes differ", "use concat to join them along a dimension they have"
                )
        return first.with_shape((*first.shape[:at], len(xs), *first.shape[at:]))

    def integers(self, y: TensorType, *xs: Known) -> Known:
        return moved(*xs)

    def define(self, g: Builder, *xs: Value) -> Value:
        at = g.ints(self.dim)
        return g("Concat", *(g("Unsqueeze", x, at) for x in xs), axis=self.dim)
