from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, evenly
from lamina.compiler.op import Example, Op
from lamina.compiler.rules import axes_of
from lamina.schema.dims import TensorType


class Unsqueeze(Op):
    """Adds dimensions of size 1, at these places of the output. x: any dtype and shape. Source: torch.unsqueeze."""

    name = "unsqueeze"
    dims: int | list[int]
    examples = (Example({"dims": 1}, ["float32[b, 8]"]), Example({"dims": [-1, 0]}, ["int64[t]"]), Example({"dims": 0}, ["float32[]"]))

    def infer(self, x: TensorType) -> TensorType:
        added = [self.dims] if isinstance(self.dims, int) else self.dims
        axes = axes_of(added, x.with_shape((*x.shape, *[1] * len(added))))
        rest = iter(x.shape)
        return x.with_shape(1 if i in axes else next(rest) for i in range(x.rank + len(added)))

    def integers(self, y: TensorType, x: Known) -> Known:
        if x is None or x.even is None:
            return x
        added, rest = axes_of([self.dims] if isinstance(self.dims, int) else self.dims, y), iter(x.even.steps)
        return evenly(y.shape, x.even.first, [0 if i in added else next(rest) for i in range(y.rank)])

    def define(self, g: Builder, x: Value) -> Value:
        return g("Unsqueeze", x, g.ints(*([self.dims] if isinstance(self.dims, int) else self.dims)))
