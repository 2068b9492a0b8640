from __future__ import annotations

from lamina.compiler.fourier import Axis, Norm, RealSynthesis, synthesised
from lamina.compiler.op import Example, SizeArg
from lamina.schema.dims import TensorType


class Irfftn(RealSynthesis):
    """The real signal whose frequencies along `dims` (all when None) are given, as `rfftn` gives them: its inverse.

    re, im: float, one shape; y: real. `size` holds the size in space of each of `dims`, by default that of a whole spectrum, even along
    the last. Fewer frequencies are the lowest (of either sign before the last dim: 0, 1, ... -2, -1), the others zero; more are
    dropped along the last dim, and an error along another. `norm` as in `rfft`. Source: torch.fft.irfftn.
    """

    name = "irfftn"
    size: list[SizeArg] | None = None
    dims: list[int] | None = None
    norm: Norm = "backward"
    examples = (
        Example({"dims": [-3, -2, -1]}, ["float32[b, 2, 6, 5, 4]"] * 2),
        Example({"dims": [-3, -2, -1], "size": ["h", "w", "t"], "norm": "ortho"}, ["float32[b, h, w, t // 2 + 1]"] * 2),
        Example({"dims": [1, 2, 3], "size": ["h", 7, "t"]}, ["float32[b, 4, 6, 3, 2]"] * 2),
        Example({"size": [6, 5]}, ["float32[6, 3]"] * 2),
        Example({"dims": [3, 1], "size": [5, 4], "norm": "forward"}, ["float32[b, 4, 2, 5]"] * 2),
        Example({"dims": [1, 2], "size": [4, 600]}, ["float32[b, 4, 301]"] * 2),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return synthesised(x, self.dims, self.size, self.norm, half=True)
