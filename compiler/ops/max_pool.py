from __future__ import annotations

from itertools import product
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, fast_path
from lamina.compiler.windows import Counts, Pool, Window


class MaxPool(Pool):
    """The largest element of every window, in 1, 2 or 3 dims by the input's rank.

    x: float [N, C, *spatial]. y: [N, C, *windows], floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1 of them, or ceil
    with `ceil_mode`. `stride` is the kernel's size unless given; padding never wins;
    'same' pads to ceil(size / stride) windows, the odd element at the end. Source: torch.nn.MaxPool2d.
    """

    name = "max_pool"
    dilation: Counts = 1
    examples = (
        Example({"kernel": 2}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 2, "padding": 1}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}, ["float32[b, 3, h, t]"]),
        Example({"kernel": [2, 3], "stride": [1, 2], "dilation": [2, 1]}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 2, "padding": 1, "dilation": 3}, ["float32[b, 3, h, w]"]),
        Example({"kernel": 3, "stride": 1, "padding": 1}, ["float32[b, 2, t]"]),
        Example({"kernel": 3, "stride": 2, "padding": "same"}, ["float32[b, 2, h, t]"]),
        Example({"kernel": 2}, ["float32[b, 2, 4, h, w]"]),
    )

    def window(self, x: Any) -> Window:
        return self.fitting(x, self.dilation)

    def define(self, g: Builder, x: Value) -> Value:
        y: Value = g("MaxPool", x, ceil_mode=int(self.ceil_mode), **self.window(x).attributes())
        return y

    @fast_path("tensorrt")
    def by_slices(self, g: Builder, x: Value) -> Any:
        """The largest of one strided slice for each element of the window: there is no dilated pooling."""
        found, n = self.window(x), x.rank - 2
        if max(found.dilation) == 1 or self.ceil_mode or found.automatic:
            return NotImplemented
        assert x.type is not None
        axes, steps, counts = g.ints(*range(2, n + 2)), g.ints(*found.stride), found.sizes(x.type)
        padded = g("Pad", x, g.ints(*found.begin, *found.end), g.scalar(float("-inf"), x), axes)
        slices = []
        for place in product(*map(range, found.kernel)):
            starts = [i * d for i, d in zip(place, found.dilation, strict=True)]
            ends = [s + (c - 1) * t + 1 for s, c, t in zip(starts, counts, found.stride, strict=True)]
            slices.append(g("Slice", padded, g.ints(*starts), g.shape(ends), axes, steps))
        return g("Max", *slices)
