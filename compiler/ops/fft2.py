from __future__ import annotations

from pydantic import Field

from lamina.compiler.fourier import Axis, ComplexAnalysis, Norm, analysed, two
from lamina.compiler.op import Example, Positive
from lamina.schema.dims import TensorType


class Fft2(ComplexAnalysis):
    """`fftn` along two dims, the last two unless `dims` says otherwise. Source: torch.fft.fft2."""

    name = "fft2"
    dims: list[int] = Field([-2, -1])
    modes: Positive | list[Positive] | None = None
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, h, w]"] * 2),
        Example({"modes": [2, 3], "norm": "ortho"}, ["float32[b, 6, 8]"] * 2),
        Example({}, ["float32[b, 4, 640]"] * 2),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return analysed(x, two(self.dims), self.modes, self.norm, half=False)
