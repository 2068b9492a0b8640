from __future__ import annotations

from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.compiler.windows import Counts, Pool, Window, window


class MaxPool(Pool):
    """The largest element of every window, in 1, 2 or 3 dims by the input's rank.

    x: float [N, C, *spatial]. y: [N, C, *windows], floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1 of them, or ceil
    with `ceil_mode`. `stride` is the kernel's size unless given; padding never wins. Source: torch.nn.MaxPool2d.
    """

    name = "max_pool"
    dilation: Counts = 1
    examples = (
        Example({"kernel": 2}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 2, "padding": 1}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}, ["float32[b, 3, h, t]"]),
        Example({"kernel": [2, 3], "stride": [1, 2], "dilation": [2, 1]}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 1, "padding": 1}, ["float32[b, 2, t]"]),
        Example({"kernel": 2}, ["float32[b, 2, 4, h, w]"]),
    )

    def window(self, x: Any) -> Window:
        stride = self.kernel if self.stride is None else self.stride
        return self.halved(window(x, self.kernel, stride, self.padding, self.dilation))

    def define(self, g: Builder, x: Value) -> Value:
        y: Value = g("MaxPool", x, ceil_mode=int(self.ceil_mode), **self.window(x).attributes())
        return y
