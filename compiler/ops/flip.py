from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op
from lamina.compiler.rules import axes_of
from lamina.schema.dims import TensorType


class Flip(Op):
    """The elements in reverse order along `dims`. x: any dtype and shape. Source: torch.flip."""

    name = "flip"
    dims: int | list[int]
    examples = (Example({"dims": 1}, ["float32[b, 8]"]), Example({"dims": [-1, 2]}, ["int64[b, 3, h, w]"]))

    def infer(self, x: TensorType) -> TensorType:
        axes_of(self.dims, x)
        return x

    def integers(self, y: TensorType, x: Known) -> Known:
        return moved(x)

    def define(self, g: Builder, x: Value) -> Value:
        axes = axes_of(self.dims, TensorType(x.dtype, x.shape))
        ones = [-1] * len(axes)
        return g("Slice", x, g.ints(*ones), g.ints(*[-(2**63) + 1] * len(axes)), g.ints(*axes), g.ints(*ones))
