from __future__ import annotations

from pydantic import Field

from lamina.compiler.fourier import Axis, Norm, RealAnalysis, analysed, two
from lamina.compiler.op import Example, Positive
from lamina.schema.dims import TensorType


class Rfft2(RealAnalysis):
    """`rfftn` along two dims, the last two unless `dims` says otherwise. Source: torch.fft.rfft2."""

    name = "rfft2"
    dims: list[int] = Field([-2, -1])
    modes: Positive | list[Positive] | None = None
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, 8, 6]"]),
        Example({"norm": "ortho"}, ["float32[b, 3, h, w]"]),
        Example({"modes": [3, 4]}, ["float32[b, 2, h, w]"]),
        Example({"modes": 2, "dims": [1, 2]}, ["float32[b, 7, 9, 3]"]),
        Example({"norm": "ortho"}, ["float16[b, 6, w]"], rtol=1e-2),
        Example({}, ["float32[b, 4, 600]"]),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return analysed(x, two(self.dims), self.modes, self.norm, half=True)
