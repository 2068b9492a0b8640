from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, axis
from lamina.schema.dims import TensorType


class Transpose(Op):
    """Swaps two dimensions. x: any dtype and shape. Source: torch.transpose."""

    name = "transpose"
    dim0: int
    dim1: int
    examples = (Example({"dim0": 1, "dim1": -1}, ["float32[b, t, 4]"]), Example({"dim0": 0, "dim1": 2}, ["int64[b, 3, h, w]"]))

    def infer(self, x: TensorType) -> TensorType:
        return x.with_shape(x.shape[i] for i in self._order(x))

    def integers(self, y: TensorType, x: Known) -> Known:
        return moved(x)

    def define(self, g: Builder, x: Value) -> Value:
        return g.transpose(x, *self._order(TensorType(x.dtype, x.shape)))

    def _order(self, x: TensorType) -> list[int]:
        a, b = axis(self.dim0, x, "dim0"), axis(self.dim1, x, "dim1")
        order = list(range(x.rank))
        order[a], order[b] = b, a
        return order
