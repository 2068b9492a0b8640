from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import NUMBERS, need_dtype
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, some
from lamina.compiler.op import Example, Op, axis
from lamina.schema.dims import TensorType


class Sort(Op):
    """The elements along `dim` in order, and their indices in x.

    x: numbers, any shape but a scalar; y: (values, indices int64). Source: torch.sort.
    """

    name = "sort"
    dim: int = -1
    descending: bool = False
    examples = (Example({}, ["float32[b, 8]"]), Example({"dim": 1, "descending": True}, ["float32[b, t, 5]"]))

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        need_dtype(x, NUMBERS)
        axis(self.dim, x)
        return x, TensorType("int64", x.shape)

    def integers(self, y: tuple[TensorType, ...], x: Known) -> tuple[Known, ...]:
        return some(x), None

    def define(self, g: Builder, x: Value) -> tuple[Value, ...]:
        return g("TopK", x, g.size(x.shape[self.dim]), outputs=2, axis=self.dim, largest=int(self.descending), sorted=1)
