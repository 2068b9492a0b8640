from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, OpError
from lamina.compiler.rules import axes_of
from lamina.schema.dims import TensorType


class Squeeze(Op):
    """Drops dimensions of size 1. x: any dtype and shape; every one of `dims` must have size 1. Source: torch.squeeze."""

    name = "squeeze"
    dims: int | list[int]
    examples = (Example({"dims": 1}, ["float32[b, 1, 8]"]), Example({"dims": [-1, 0]}, ["int64[1, t, 1]"]))

    def infer(self, x: TensorType) -> TensorType:
        axes = axes_of(self.dims, x)
        for i in axes:
            if x.shape[i] != 1:
                raise OpError(f"dimension {i} of {x} has size {x.shape[i]}; only a size of 1 can be dropped", "use select or a reduction")
        return x.with_shape(s for i, s in enumerate(x.shape) if i not in axes)

    def integers(self, y: TensorType, x: Known) -> Known:
        return moved(x)

    def define(self, g: Builder, x: Value) -> Value:
        return g("Squeeze", x, g.ints(*([self.dims] if isinstance(self.dims, int) else self.dims)))
