from __future__ import annotations

from lamina.compiler.fourier import Axis, ComplexSynthesis, Norm, synthesised
from lamina.compiler.op import Example, SizeArg
from lamina.schema.dims import TensorType


class Ifftn(ComplexSynthesis):
    """`ifft` along each of `dims` (all when None); `size` holds one size for each. Source: torch.fft.ifftn."""

    name = "ifftn"
    size: list[SizeArg] | None = None
    dims: list[int] | None = None
    norm: Norm = "backward"
    examples = (
        Example({"dims": [1, 2, 3]}, ["float32[b, h, w, t]"] * 2),
        Example({"norm": "ortho"}, ["float32[6, 5]"] * 2),
        Example({"dims": [1, 3], "size": ["h", 9]}, ["float32[b, 4, 2, 6]"] * 2),
        Example({"dims": [1, 2]}, ["float32[b, 4, 640]"] * 2),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return synthesised(x, self.dims, self.size, self.norm, half=False)
