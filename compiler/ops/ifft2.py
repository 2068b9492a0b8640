from __future__ import annotations

from pydantic import Field

from lamina.compiler.fourier import Axis, ComplexSynthesis, Norm, synthesised, two
from lamina.compiler.op import Example, SizeArg
from lamina.schema.dims import TensorType


class Ifft2(ComplexSynthesis):
    """`ifftn` along two dims, the last two unless `dims` says otherwise. Source: torch.fft.ifft2."""

    name = "ifft2"
    size: list[SizeArg] | None = None
    dims: list[int] = Field([-2, -1])
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, h, w]"] * 2),
        Example({"size": [7, "w"], "norm": "ortho"}, ["float32[b, 6, 8]"] * 2),
        Example({}, ["float32[b, 640, 4]"] * 2),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return synthesised(x, two(self.dims), self.size, self.norm, half=False)
