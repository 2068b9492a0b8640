from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, fast_path, need_float
from lamina.schema.dims import TensorType


class DropPath(Op):
    """y = x; in PyTorch's train mode a whole sample is dropped with probability p, and the others are divided by 1 - p.

    x: float [N, *]. y: like x. Put it on a residual branch: stochastic depth. Source: arXiv 1603.09382.
    """

    name = "drop_path"
    p: Annotated[float, Field(ge=0, lt=1)] = 0.1
    examples = (
        Example({}, ["float32[b, t, 8]"]),
        Example({"p": 0.5}, ["float32[b, 3, h, w]"]),
        Example({"p": 0.0}, ["float32[b]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_float(x)
        if not x.rank:
            raise OpError(f"the input must have a batch dimension, but it is {x}")
        return x

    def define(self, g: Builder, x: Value) -> Value:
        return g("Identity", x)

    @fast_path("torch")
    def per_sample(self, g: Builder, x: Value) -> Value:
        """Dropout of one 1 per sample, which the rest of the sample follows."""
        batch = g("Concat", g("Shape", x, end=1), g.ints(*(1,) * (x.rank - 1)), axis=0) if x.rank > 1 else g("Shape", x)
        kept = g("Dropout", g("Expand", g.scalar(1.0, x), batch), g.constant(self.p, "float32"))
        return g("Mul", x, kept)
