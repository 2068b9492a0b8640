from __future__ import annotations

from collections.abc import Mapping

from lamina.compiler.builder import Builder
from lamina.compiler.channels import along, channels
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Weight, need_float, need_rank
from lamina.schema.dims import TensorType


class Prelu(Op):
    """y = x where x > 0, else weight * x.

    x: float, any shape. y: like x. weight: [1], or with `per_channel` [C], one slope for each index of dim 1. Slopes start at `init`.
    Source: torch.nn.PReLU, arXiv 1502.01852.
    """

    name = "prelu"
    init: float = 0.25
    per_channel: bool = False
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"per_channel": True}, ["float32[b, 3, h, w]"]),
        Example({"per_channel": True, "init": 0.1}, ["float32[b, 8]"]),
        Example({}, ["float32[]"]),
    )

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        count = channels(x) if self.per_channel else 1
        return {"weight": Weight(TensorType(x.dtype, (count,)), f"constant({self.init!r})")}

    def infer(self, x: TensorType) -> TensorType:
        need_float(x)
        if self.per_channel:
            need_rank(x, tuple(range(2, 9)), "the input (batch, channels, then sizes)")
            channels(x)
        return x

    def define(self, g: Builder, x: Value, *, weight: Value) -> Value:
        if not x.rank:
            weight = g("Reshape", weight, g.ints())
        return g("PRelu", x, along(g, weight, 1, x.rank) if self.per_channel else weight)
