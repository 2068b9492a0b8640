from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import NUMBERS, need_dtype
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, some
from lamina.compiler.op import Example, Op, OpError, SizeArg, axis
from lamina.compiler.rules import at_most
from lamina.schema.dims import TensorType


class TopK(Op):
    """The `k` largest (or smallest) elements along `dim`, and their indices.

    x: numbers, any shape but a scalar; y: (values, indices int64), `dim` of size k, in order when `sorted`. Source: torch.topk.
    """

    name = "top_k"
    k: SizeArg
    dim: int = -1
    largest: bool = True
    sorted: bool = True
    examples = (
        Example({"k": 3}, ["float32[b, 8]"]),
        Example({"k": 2, "dim": 1, "largest": False}, ["float32[b, t, 5]"]),
        Example({"k": "t // 2", "dim": 0}, ["float32[t]"]),
    )

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        need_dtype(x, NUMBERS)
        at = axis(self.dim, x)
        if not (at_most(1, self.k) and at_most(self.k, x.shape[at])):
            raise OpError(f"`k` is {self.k}, but it must be between 1 and {x.shape[at]}, the size of dimension {at} of {x}")
        shape = (*x.shape[:at], self.k, *x.shape[at + 1 :])
        return x.with_shape(shape), TensorType("int64", shape)

    def integers(self, y: tuple[TensorType, ...], x: Known) -> tuple[Known, ...]:
        return some(x), None

    def define(self, g: Builder, x: Value) -> tuple[Value, ...]:
        return g("TopK", x, g.size(self.k), outputs=2, axis=self.dim, largest=int(self.largest), sorted=int(self.sorted))
