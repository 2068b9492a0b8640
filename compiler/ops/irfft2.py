from __future__ import annotations

from pydantic import Field

from lamina.compiler.fourier import Axis, Norm, RealSynthesis, synthesised, two
from lamina.compiler.op import Example, SizeArg
from lamina.schema.dims import TensorType


class Irfft2(RealSynthesis):
    """`irfftn` along two dims, the last two unless `dims` says otherwise. Source: torch.fft.irfft2."""

    name = "irfft2"
    size: list[SizeArg] | None = None
    dims: list[int] = Field([-2, -1])
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, 8, 4]"] * 2),
        Example({"size": ["h", "w"], "norm": "ortho"}, ["float32[b, 3, h, w // 2 + 1]"] * 2),
        Example({"size": ["h", "w"]}, ["float32[b, 3, 6, 4]"] * 2),
        Example({"dims": [1, 2], "size": [7, 9]}, ["float32[b, 4, 2, 3]"] * 2),
        Example({"size": [4, 600]}, ["float32[b, 4, 301]"] * 2),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return synthesised(x, two(self.dims), self.size, self.norm, half=True)
