from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.channels import along, channels, ones, scale_and_shift, zeros
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Weight, fast_path, need_float, need_rank
from lamina.schema.dims import TensorType

LARGE = 2**19  # elements, of which one float32 sum in ONNX Runtime is off by 5e-6; at 2**21 by 3e-5


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
        Example({"affine": True}, ["float32[b, 1, 512, 1024]"]),
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

    @fast_path("onnx", "onnxruntime")
    def row_by_row(self, g: Builder, x: Value, *, weight: Value | None = None, bias: Value | None = None) -> Any:
        """Sums of sums keep the digits of a large image, at twice the operator's time."""
        assert x.type is not None
        sizes = [n for n in x.type.shape[2:] if isinstance(n, int)]
        if len(sizes) < x.rank - 2 or math.prod(sizes) < LARGE:
            return NotImplemented
        centred = g("Sub", x, _mean(g, x, x.rank))
        variance = _mean(g, g("Mul", centred, centred), x.rank)
        y = g("Div", centred, g("Sqrt", g("Add", variance, g.constant(self.eps, x.dtype))))
        y = y if weight is None else g("Mul", y, along(g, weight, 1, x.rank))
        return y if bias is None else g("Add", y, along(g, bias, 1, x.rank))


def _mean(g: Builder, x: Value, rank: int) -> Value:
    for axis in reversed(range(2, rank)):
        x = g("ReduceMean", x, g.ints(axis), keepdims=1)
    return x
