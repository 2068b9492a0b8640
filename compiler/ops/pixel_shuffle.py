from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Positive, need_rank
from lamina.schema.dims import TensorType


class PixelShuffle(Op):
    """Channels to space: [n, c * r * r, h, w] becomes [n, c, h * r, w * r], where r is `factor`.

    x: any dtype. Source: torch.nn.functional.pixel_shuffle.
    """

    name = "pixel_shuffle"
    factor: Positive
    examples = (Example({"factor": 2}, ["float32[b, 12, h, w]"]), Example({"factor": 3}, ["float32[2, 9, 4, t]"]))

    def infer(self, x: TensorType) -> TensorType:
        need_rank(x, 4)
        n, c, h, w = x.shape
        if c % self.factor**2 != 0:
            raise OpError(f"{c} channels of {x} cannot be divided by factor^2 = {self.factor**2}")
        return x.with_shape((n, c // self.factor**2, h * self.factor, w * self.factor))

    def define(self, g: Builder, x: Value) -> Value:
        return g("DepthToSpace", x, blocksize=self.factor, mode="CRD")
