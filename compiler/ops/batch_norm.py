from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from lamina.compiler.builder import Builder
from lamina.compiler.channels import channels, ones, scale_and_shift, zeros
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Weight, need_float, need_rank
from lamina.schema.dims import TensorType


class BatchNorm(Op):
    """y = (x - running_mean) / sqrt(running_var + eps) * weight + bias, per channel.

    x: float [N, C, *], C fixed. y: like x. weight, bias: [C], absent when `affine` is false; running_mean, running_var: [C], not trained.
    In PyTorch's train mode the batch's own statistics normalise, and the running ones move towards them by `momentum`.
    Source: torch.nn.BatchNorm2d, arXiv 1502.03167.
    """

    name = "batch_norm"
    eps: float = 1e-5
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.1
    affine: bool = True
    examples = (
        Example({}, ["float32[b, 3, h, w]"]),
        Example({"affine": False, "eps": 1e-3}, ["float32[b, 3, t]"]),
        Example({}, ["float32[b, 8]"]),
    )

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        shape = TensorType(x.dtype, (channels(x),))
        running = {"running_mean": Weight(shape, "zeros", trainable=False), "running_var": Weight(shape, "ones", trainable=False)}
        return (scale_and_shift(x, (channels(x),)) if self.affine else {}) | running

    def infer(self, x: TensorType) -> TensorType:
        need_rank(x, (2, 3, 4, 5), "the input (batch, channels, then sizes)")
        need_float(x)
        channels(x)
        return x

    def define(
        self, g: Builder, x: Value, *, running_mean: Value, running_var: Value, weight: Value | None = None, bias: Value | None = None
    ) -> Value:
        assert x.type is not None
        count = channels(x.type)
        scale, shift = (ones(g, x, count) if weight is None else weight), (zeros(g, x, count) if bias is None else bias)
        kept = 1 - self.momentum  # ONNX's momentum is what stays of the old value
        return g("BatchNormalization", x, scale, shift, running_mean, running_var, epsilon=self.eps, momentum=kept)
