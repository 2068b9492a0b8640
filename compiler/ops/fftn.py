from __future__ import annotations

from lamina.compiler.fourier import Axis, ComplexAnalysis, Norm, analysed
from lamina.compiler.op import Example, Positive
from lamina.schema.dims import TensorType


class Fftn(ComplexAnalysis):
    """`fft` along each of `dims` (all when None); `modes` is a number, or one for each. Source: torch.fft.fftn."""

    name = "fftn"
    dims: list[int] | None = None
    modes: Positive | list[Positive] | None = None
    norm: Norm = "backward"
    examples = (
        Example({"dims": [1, 2, 3]}, ["float32[b, h, w, t]"] * 2),
        Example({"norm": "ortho"}, ["float32[6, 5]"] * 2),
        Example({"dims": [1, 3], "modes": [2, 3]}, ["float32[b, h, 2, w]"] * 2),
        Example({"dims": [1, 2]}, ["float32[b, 4, 640]"] * 2),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return analysed(x, self.dims, self.modes, self.norm, half=False)
