from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.compiler.windows import Pool


class AvgPool(Pool):
    """The mean of every window, in 1, 2 or 3 dims by the input's rank.

    x: float [N, C, *spatial]. y: [N, C, *windows], floor((size + 2 * padding - kernel) / stride) + 1 of them, or ceil with `ceil_mode`.
    `stride` is the kernel's size unless given. `count_include_pad` says whether padded zeros count in the mean.
    `padding` 'same' leaves ceil(size / stride) windows, the odd element at the end. Source: torch.nn.AvgPool2d.
    """

    name = "avg_pool"
    count_include_pad: bool = True
    examples = (
        Example({"kernel": 2}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 1, "padding": 1, "count_include_pad": False}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 2, "stride": 3, "padding": 1, "ceil_mode": True, "count_include_pad": False}, ["float32[b, 3, h, t]"]),
        Example({"kernel": [3, 1], "stride": [2, 1]}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 2}, ["float32[b, 2, t]"]),
        Example({"kernel": 3, "stride": 2, "padding": "same"}, ["float32[b, 2, h, t]"]),
        Example({"kernel": 3, "stride": 2, "padding": "same", "count_include_pad": False}, ["float32[b, 2, t]"]),
        Example({"kernel": 2}, ["float32[b, 2, 4, h, w]"]),
    )

    def define(self, g: Builder, x: Value) -> Value:
        ceil, include = int(self.ceil_mode), int(self.count_include_pad)
        y: Value = g("AveragePool", x, ceil_mode=ceil, count_include_pad=include, **self.window(x).attributes())
        return y
