from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from lamina.compiler.builder import Builder
from lamina.compiler.channels import channels
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Weight, fast_path, need_float, need_rank
from lamina.schema.dims import TensorType


class RunningVar(Op):
    """y = the variance of each channel, as seen in training: the part of batch normalisation that layers of other forms divide by.

    x: float [N, C, *spatial], C fixed. y: [1, C, 1, ...], which broadcasts against x. running_var: [C], not trainable, at the step's own
    path. In PyTorch's train mode y is the batch's own variance, and running_var moves towards its unbiased form by `momentum`.
    Source: arXiv 1502.03167; the variance of torch.nn.BatchNorm2d.
    """

    name = "running_var"
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.1
    examples = (
        Example({}, ["float32[b, 3, h, w]"]),
        Example({"momentum": 0.01}, ["float32[b, 4, t]"]),
        Example({}, ["float32[b, 8]"]),
    )

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        return {"": Weight(TensorType(x.dtype, (channels(x),)), "ones", trainable=False)}

    def infer(self, x: TensorType) -> TensorType:
        need_rank(x, (2, 3, 4, 5), "the input (batch, channels, then sizes)")
        need_float(x)
        return x.with_shape((1, channels(x), *(1,) * (x.rank - 2)))

    def define(self, g: Builder, x: Value, **weights: Value) -> Value:
        return self._spread(g, x, weights[""])

    @fast_path("torch")
    def of_the_batch(self, g: Builder, x: Value, **weights: Value) -> Value:
        """The batch's in train mode, which the definition does not know."""
        return self._spread(g, x, g.torch("running_variance", x, weights[""], momentum=self.momentum))

    def _spread(self, g: Builder, x: Value, variance: Value) -> Value:
        return g("Reshape", variance, g.ints(1, -1, *(1,) * (x.rank - 2)))
