from __future__ import annotations

from lamina.compiler.fourier import Axis, Norm, RealSynthesis, synthesised
from lamina.compiler.op import Example, SizeArg
from lamina.schema.dims import TensorType


class Irfft(RealSynthesis):
    """The real signal of `size` samples along `dim` whose frequencies 0 and up are given: the inverse of `rfft`.

    re, im: float, one shape; y: real, `dim` of size `size`, by default 2 * (m - 1) for m frequencies. Fewer frequencies than
    size // 2 + 1 are the lowest, the others zero; more are dropped: so a signal is resampled. The imaginary part of frequency 0, and of
    size / 2, does not count. `norm` as in `rfft`. Source: torch.fft.irfft.
    """

    name = "irfft"
    size: SizeArg | None = None
    dim: int = -1
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, 7]"] * 2),
        Example({"size": 9}, ["float32[b, 5]"] * 2),
        Example({"size": "t", "norm": "ortho"}, ["float32[b, t // 2 + 1]"] * 2),
        Example({"size": "t", "dim": 1, "norm": "forward"}, ["float32[b, 3, 5]"] * 2),
        Example({"size": 12}, ["float32[b, 4]"] * 2),
        Example({"size": 6, "dim": 0}, ["float32[9, b]"] * 2),
        Example({"size": 600}, ["float32[b, 301]"] * 2),
        Example({"dim": 1, "size": 1024, "norm": "ortho"}, ["float32[b, 500, 3]"] * 2),
        Example({"size": 901}, ["float32[b, 451]"] * 2),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return synthesised(x, self.dim, self.size, self.norm, half=True)
