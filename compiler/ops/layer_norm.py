from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.channels import scale_and_shift
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Positive, Weight, need_fixed, need_float
from lamina.schema.dims import TensorType


class LayerNorm(Op):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, statistics over the last `dims` dims.

    x: float [..., *d], d fixed. y: like x. weight, bias: [*d]; `affine` false drops both, `bias` false drops the bias.
    Source: torch.nn.LayerNorm, arXiv 1607.06450.
    """

    name = "layer_norm"
    dims: Positive = 1
    eps: float = 1e-5
    affine: bool = True
    bias: bool = True
    examples = (
        Example({}, ["float32[b, t, 8]"]),
        Example({"eps": 1e-12, "bias": False}, ["float32[b, 8]"]),
        Example({"dims": 2}, ["float32[b, 3, 4]"]),
        Example({"affine": False}, ["float32[b, h, w, 3]"]),
        Example({}, ["float16[b, t, 8]"]),
    )

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        return scale_and_shift(x, self._normalised(x), bias=self.bias) if self.affine else {}

    def infer(self, x: TensorType) -> TensorType:
        need_float(x)
        self._normalised(x)
        return x

    def _normalised(self, x: TensorType) -> tuple[int, ...]:
        if self.dims > x.rank:
            raise OpError(f"`dims` is {self.dims}, but the input {x} has {x.rank} dimensions", "it counts dims from the end", "value")
        return tuple(need_fixed(size, f"a normalised dim of {x}") for size in x.shape[x.rank - self.dims :])

    def define(self, g: Builder, x: Value, *, weight: Value | None = None, bias: Value | None = None) -> Value:
        if weight is None:
            assert x.type is not None
            shape = self._normalised(x.type)
            weight = g.constant(np.ones(prod(shape)).reshape(shape), x.dtype)
        return g("LayerNormalization", x, weight, bias, axis=-self.dims, epsilon=self.eps)
