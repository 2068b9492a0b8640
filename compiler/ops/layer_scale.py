from __future__ import annotations

from collections.abc import Mapping

from lamina.compiler.builder import Builder
from lamina.compiler.channels import along, channels
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Weight, axis, need_float
from lamina.schema.dims import TensorType


class LayerScale(Op):
    """y = x * weight, one learnt factor per channel.

    x: float, its channels (dim `dim`) fixed. y: like x. weight: [C], `init` everywhere. Images [N, C, H, W] need no `dim`;
    for tokens [N, T, C] it is -1. Source: arXiv 2103.17239.
    """

    name = "layer_scale"
    init: float = 1e-5
    dim: int = 1
    examples = (
        Example({}, ["float32[b, 3, h, w]"]),
        Example({"init": 1.0, "dim": -1}, ["float32[b, t, 8]"]),
        Example({"init": 0.1}, ["float32[b, 8]"]),
    )

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        return {"weight": Weight(TensorType(x.dtype, (channels(x, axis(self.dim, x)),)), f"constant({self.init!r})")}

    def infer(self, x: TensorType) -> TensorType:
        need_float(x)
        channels(x, axis(self.dim, x))
        return x

    def define(self, g: Builder, x: Value, *, weight: Value) -> Value:
        return g("Mul", x, along(g, weight, self.dim % x.rank, x.rank))
