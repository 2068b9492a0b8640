from __future__ import annotations

from typing import Literal

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, SizeArg
from lamina.compiler.windows import Counts, need_images, smallest, spread
from lamina.schema.dims import Size, TensorType


class Interpolate(Op):
    """Resize the spatial dims to `size` (which may be dynamic, such as `[H // 2, W // 2]`), or by the integer factors `scale`.

    x: float [N, C, *spatial]. y: [N, C, *size]. Modes: nearest, linear (1 to 3 spatial dims), cubic (two). `align_corners` puts the corner
    samples of input and output on each other. Source: torch.nn.functional.interpolate.
    """

    name = "interpolate"
    size: list[SizeArg] | None = None
    scale: Counts | None = None
    mode: Literal["nearest", "linear", "cubic"] = "nearest"
    align_corners: bool = False
    examples = (
        Example({"scale": 2}, ["float32[b, 3, h, w]"]),
        Example({"scale": 2, "mode": "linear"}, ["float32[b, 3, h, w]"]),
        Example({"scale": [2, 3], "mode": "linear", "align_corners": True}, ["float32[b, 3, h, w]"]),
        Example({"size": ["h // 2", "w // 4"], "mode": "linear"}, ["float32[b, 3, h, w]"]),
        Example({"size": [7, 5], "mode": "cubic"}, ["float32[b, 3, h, w]"], rtol=3e-5),
        Example({"size": ["h", "w"], "mode": "nearest"}, ["float32[b, 3, 4, 4]"]),
        Example({"scale": 2, "mode": "linear"}, ["float32[b, 3, t]"]),
        Example({"size": [1, 1], "mode": "linear"}, ["float32[b, 3, 6, 4]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_images(x)
        if (self.size is None) == (self.scale is None):
            raise OpError("give `size` or `scale`, one of the two", "for example size=[7, 7], or scale=2", "value")
        if self.mode == "cubic" and x.rank != 4:
            raise OpError(f"mode 'cubic' needs an image [N, C, H, W], but the input is {x}", "use mode 'linear'", "value")
        if self.mode == "nearest" and self.align_corners:
            raise OpError("`align_corners` has no meaning in mode 'nearest'", "use mode 'linear'", "value")
        return x.with_shape((*x.shape[:2], *self._sizes(x)))

    def _sizes(self, x: TensorType) -> list[Size]:
        if self.scale is not None:
            return [s * f for s, f in zip(x.shape[2:], spread(self.scale, x.rank - 2, "scale"), strict=True)]
        assert self.size is not None
        if len(self.size) != x.rank - 2:
            raise OpError(f"`size` has {len(self.size)} numbers, but the input {x} has {x.rank - 2} spatial dimensions", code="value")
        for size in self.size:
            if smallest(size) < 1:
                raise OpError(f"`size` holds {size}, which can be as small as {smallest(size)}", "a size is at least 1", "value")
        return self.size

    def define(self, g: Builder, x: Value) -> Value:
        corners = {"nearest": "asymmetric", "linear": "half_pixel", "cubic": "half_pixel"}[self.mode]
        where = "align_corners" if self.align_corners else corners
        scales, sizes = None, None
        if self.scale is not None:
            scales = g.constant([1, 1, *spread(self.scale, x.rank - 2, "scale")], "float32")
        elif self.size is not None:
            sizes = g.shape([*x.shape[:2], *self.size])
        rounding = "floor" if self.mode == "nearest" else None
        return g("Resize", x, None, scales, sizes, mode=self.mode, coordinate_transformation_mode=where, nearest_mode=rounding)
