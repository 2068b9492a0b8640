from __future__ import annotations

from typing import Literal

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, need_float, need_rank
from lamina.schema.dims import TensorType


class GridSample(Op):
    """Read an image at given places: y[n, :, i, j] = x[n, :] at grid[n, i, j].

    x: float [N, C, H, W]; grid: [N, H', W', 2], the last dim (horizontal, vertical) from -1 to 1; y: [N, C, H', W']. With volumes
    [N, C, D, H, W] the grid is [N, D', H', W', 3] (not in mode 'cubic'). -1 and 1 are the outer edges of the corner pixels, with
    `align_corners` their centres. Source: torch.nn.functional.grid_sample.
    """

    name = "grid_sample"
    mode: Literal["linear", "nearest", "cubic"] = "linear"
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros"
    align_corners: bool = False
    examples = (
        Example({}, ["float32[b, 3, h, w]", "float32[b, t, 5, 2]"]),
        Example({"mode": "cubic", "padding_mode": "border"}, ["float32[b, 2, h, w]", "float32[b, 3, t, 2]"], rtol=1e-4),
        Example({"padding_mode": "reflection", "align_corners": True}, ["float32[b, 2, h, w]", "float32[b, 3, t, 2]"], rtol=1e-4),
        Example({"mode": "nearest"}, ["float32[b, 2, h, w]", "float32[b, 3, t, 2]"]),
        Example({}, ["float32[b, 2, 4, h, w]", "float32[b, 2, 3, t, 3]"]),
    )

    def infer(self, x: TensorType, grid: TensorType) -> TensorType:
        need_rank(x, (4, 5), "the input (batch, channels, then 2 or 3 spatial sizes)")
        need_float(x)
        if self.mode == "cubic" and x.rank != 4:
            raise OpError(f"mode 'cubic' needs an image [N, C, H, W], but the input is {x}", "use mode 'linear'", "value")
        wanted = f"[{x.shape[0]}, *sizes, {x.rank - 2}] with {x.rank - 2} sizes"
        if grid.dtype != x.dtype or grid.rank != x.rank or grid.shape[0] != x.shape[0] or grid.shape[-1] != x.rank - 2:
            raise OpError(f"the grid for {x} must be {x.dtype}{wanted}, but it is {grid}")
        return x.with_shape((*x.shape[:2], *grid.shape[1:-1]))

    def define(self, g: Builder, x: Value, grid: Value) -> Value:
        return g("GridSample", x, grid, mode=self.mode, padding_mode=self.padding_mode, align_corners=int(self.align_corners))
