from __future__ import annotations

from collections.abc import Mapping

from lamina.compiler.builder import Builder
from lamina.compiler.channels import ones, scale_and_shift
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Weight, need_fixed, need_float, need_rank
from lamina.schema.dims import TensorType


class RmsNorm(Op):
    """y = x / sqrt(mean(x^2, last dim) + eps) * weight.

    x: float [..., d], d fixed. y: like x. weight: [d], absent when `affine` is false. Source: arXiv 1910.07467.
    """

    name = "rms_norm"
    eps: float = 1e-6
    affine: bool = True
    examples = (
        Example({}, ["float32[b, t, 8]"]),
        Example({"eps": 1e-5}, ["float32[b, 3, h, 6]"]),
        Example({"affine": False}, ["float32[t, 8]"]),
        Example({}, ["float16[b, t, 8]"]),
    )

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        return scale_and_shift(x, (self._width(x),), bias=False) if self.affine else {}

    def infer(self, x: TensorType) -> TensorType:
        need_rank(x, tuple(range(1, 9)))
        need_float(x)
        self._width(x)
        return x

    def _width(self, x: TensorType) -> int:
        return need_fixed(x.shape[-1], f"the last dim of {x}")

    def define(self, g: Builder, x: Value, *, weight: Value | None = None) -> Value:
        assert x.type is not None
        scale = ones(g, x, self._width(x.type)) if weight is None else weight
        return g("RMSNormalization", x, scale, axis=-1, epsilon=self.eps)
