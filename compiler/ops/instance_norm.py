from __future__ import annotations

from collections.abc import Mapping

from lamina.compiler.builder import Builder
from lamina.compiler.channels import channels, ones, scale_and_shift, zeros
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Weight, need_float, need_rank
from lamina.schema.dims import TensorType


class InstanceNorm(Op):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, statistics over each channel of one sample.

    x: float [N, C, *], C fixed. y: like x. weight, bias: [C], absent unless `affine`. Source: torch.nn.InstanceNorm2d, arXiv 1607.08022.
    """

    name = "instance_norm"
    eps: float = 1e-5
    affine: bool = False
    examples = (
        Example({}, ["float32[b, 3, h, w]"]),
        Example({"affine": True, "eps": 1e-3}, ["float32[b, 3, h, w]"]),
        Example({"affine": True}, ["float32[b, 4, t]"]),
    )

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        return scale_and_shift(x, (channels(x),)) if self.affine else {}

    def infer(self, x: TensorType) -> TensorType:
        need_rank(x, (3, 4, 5), "the input (batch, channels, then sizes)")
        need_float(x)
        channels(x)
        return x

    def define(self, g: Builder, x: Value, *, weight: Value | None = None, bias: Value | None = None) -> Value:
        assert x.type is not None
        count = channels(x.type)
        scale, shift = (ones(g, x, count) if weight is None else weight), (zeros(g, x, count) if bias is None else bias)
        return g("InstanceNormalization", x, scale, shift, epsilon=self.eps)
