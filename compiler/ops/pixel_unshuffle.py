from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Positive, need_rank
from lamina.schema.dims import TensorType


class PixelUnshuffle(Op):
    """Space to channels: [n, c, h * r, w * r] becomes [n, c * r * r, h, w], where r is `factor`.

    x: any dtype. Source: torch.nn.functional.pixel_unshuffle.
    """

    name = "pixel_unshuffle"
    factor: Positive
    examples = (Example({"factor": 2}, ["float32[b, 3, h, w]"]), Example({"factor": 4}, ["float32[2, 1, 4, w]"]))

    def infer(self, x: TensorType) -> TensorType:
        need_rank(x, 4)
        n, c, h, w = x.shape
        for size in (h, w):
            if size % self.factor != 0:
                raise OpError(
                    f"the size {size} of {x} cannot be divided by the factor {self.factor}", "declare it with `multiple_of` in `dims`"
                )
        return x.with_shape((n, c * self.factor**2, h // self.factor, w // self.factor))

    def define(self, g: Builder, x: Value) -> Value:
        (n, c, h, w), r = x.shape, self.factor
        tiles = g.reshape(x, [n, c, h // r, r, w // r, r])
        return g.reshape(g.transpose(tiles, 0, 1, 3, 5, 2, 4), [n, c * r * r, h // r, w // r])
