from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Positive, need_rank
from lamina.schema.dims import FLOATS, TensorType


class PixelShuffle(Op):
    """Channels to space: [n, c * r * r, h, w] becomes [n, c, h * r, w * r], where r is `factor`.

    x: any dtype. Source: torch.nn.functional.pixel_shuffle.
    """

    name = "pixel_shuffle"
    factor: Positive
    examples = (
        Example({"factor": 2}, ["float32[b, 12, h, w]"]),
        Example({"factor": 3}, ["float32[2, 9, 4, t]"]),
        Example({"factor": 2}, ["int64[b, 8, h, t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_rank(x, 4)
        n, c, h, w = x.shape
        if c % self.factor**2 != 0:
            raise OpError(f"{c} channels of {x} cannot be divided by factor^2 = {self.factor**2}")
        return x.with_shape((n, c // self.factor**2, h * self.factor, w * self.factor))

    def define(self, g: Builder, x: Value) -> Value:
        if x.dtype in FLOATS:
            return g("DepthToSpace", x, blocksize=self.factor, mode="CRD")
        (n, c, h, w), r = x.shape, self.factor
        parts = g.reshape(x, [n, c // r**2, r, r, h, w])
        return g.reshape(g.transpose(parts, 0, 1, 4, 2, 5, 3), [n, c // r**2, h * r, w * r])
