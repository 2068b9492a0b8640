from __future__ import annotations

from lamina.compiler.fourier import Axis, ComplexSynthesis, Norm, synthesised
from lamina.compiler.op import Example, SizeArg
from lamina.schema.dims import TensorType


class Ifft(ComplexSynthesis):
    """The complex signal of `size` samples along `dim` whose frequencies are given, in the order 0, 1, ... -2, -1: the inverse of `fft`.

    re, im: float, one shape; y: (real part, imaginary part). Fewer frequencies than `size` are the lowest of either sign, the others zero.
    `norm` as in `rfft`. Source: torch.fft.ifft.
    """

    name = "ifft"
    size: SizeArg | None = None
    dim: int = -1
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, 7]"] * 2),
        Example({"dim": 1, "norm": "ortho"}, ["float32[b, t, 3]"] * 2),
        Example({"size": "t", "norm": "forward"}, ["float32[b, 4]"] * 2),
        Example({"size": 8, "dim": 1}, ["float32[b, 5, 2, 3]"] * 2),
        Example({"norm": "ortho"}, ["float32[b, 640]"] * 2),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return synthesised(x, self.dim, self.size, self.norm, half=False)
