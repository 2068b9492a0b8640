from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, OpError
from lamina.compiler.rules import axes_of
from lamina.schema.dims import TensorType


class Permute(Op):
    """The dimensions in another order: y's i-th is x's dims[i]-th. x: any dtype and shape. Source: torch.permute."""

    name = "permute"
    dims: list[int]
    examples = (Example({"dims": [0, 2, 3, 1]}, ["float32[b, 3, h, w]"]), Example({"dims": [-1, 0, 1]}, ["int64[b, t, 5]"]))

    def infer(self, x: TensorType) -> TensorType:
        axes = axes_of(self.dims, x)
        if len(axes) != x.rank:
            raise OpError(f"`dims` is {self.dims}, but {x} has {x.rank} dimensions", "name every dimension once")
        return x.with_shape(x.shape[i] for i in axes)

    def integers(self, y: TensorType, x: Known) -> Known:
        return moved(x)

    def define(self, g: Builder, x: Value) -> Value:
        return g.transpose(x, *(d % x.rank for d in self.dims))
