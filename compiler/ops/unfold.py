from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.channels import channels
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, NonNegative, Op, need_float, need_rank
from lamina.compiler.windows import Counts, Window, window
from lamina.schema.dims import TensorType, product


class Unfold(Op):
    """Every window of an image as a column (im2col).

    x: float [N, C, H, W], C fixed. y: [N, C * kernel_h * kernel_w, windows], channels first, then rows and columns of the window.
    Source: torch.nn.Unfold.
    """

    name = "unfold"
    kernel: Counts
    stride: Counts = 1
    padding: NonNegative | list[NonNegative] = 0
    dilation: Counts = 1
    examples = (
        Example({"kernel": 2, "stride": 2}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "padding": 1}, ["float32[b, 2, h, w]"]),
        Example({"kernel": [1, 3], "stride": [2, 1], "dilation": [1, 2]}, ["float32[b, 2, h, w]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_rank(x, 4, "the input (batch, channels, height, width)")
        need_float(x)
        found = self._window(x)
        return x.with_shape((x.shape[0], channels(x) * prod(found.kernel), product(found.sizes(x))))

    def _window(self, x: Any) -> Window:
        return window(x, self.kernel, self.stride, self.padding, self.dilation)

    def define(self, g: Builder, x: Value) -> Value:
        """A depthwise convolution whose kernels each pick one element of the window."""
        assert x.type is not None
        found, count = self._window(x), channels(x.type)
        pick = np.eye(prod(found.kernel)).reshape(-1, 1, *found.kernel)
        y = g("Conv", x, g.constant(np.tile(pick, (count, 1, 1, 1)), x.dtype), group=count, **found.attributes())
        windows = product(found.sizes(x.type))
        return g("Reshape", y, g.ints(0, count * prod(found.kernel), windows if isinstance(windows, int) else -1))
