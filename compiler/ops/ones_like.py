from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, single
from lamina.compiler.op import Example, Op
from lamina.compiler.rules import shape_of
from lamina.schema.dims import TensorType


class OnesLike(Op):
    """Ones of the shape and dtype of x. x: any dtype and shape. Source: torch.ones_like."""

    name = "ones_like"
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["bool[t, 3]"]), Example({}, ["int64[2, 3]"]))

    def infer(self, x: TensorType) -> TensorType:
        return x

    def integers(self, y: TensorType, _: Known) -> Known:
        return single(1, y.rank)

    def define(self, g: Builder, x: Value) -> Value:
        return g("Expand", g.scalar(1, x), shape_of(g, x))
