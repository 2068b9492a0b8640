from __future__ import annotations

from lamina.compiler.fourier import Axis, ComplexAnalysis, Norm, analysed
from lamina.compiler.op import Example, Positive
from lamina.schema.dims import TensorType


class Fft(ComplexAnalysis):
    """The discrete Fourier transform of a complex signal along `dim`, in the order 0, 1, ... -2, -1.

    re, im: float, one shape; y: (real part, imaginary part). `modes` m keeps the 2 m lowest frequencies only, 0 to m - 1 and -m to -1, and
    costs as much less. `norm` as in `rfft`. Source: torch.fft.fft.
    """

    name = "fft"
    dim: int = -1
    modes: Positive | None = None
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, 7]"] * 2),
        Example({"dim": 1, "norm": "ortho"}, ["float32[b, t, 3]"] * 2),
        Example({"modes": 2, "norm": "forward"}, ["float32[b, t]"] * 2),
        Example({"dim": 1, "modes": 3}, ["float32[b, 8, 2, 3]"] * 2),
        Example({"dim": 1}, ["float32[b, 640, 2]"] * 2),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return analysed(x, self.dim, self.modes, self.norm, half=False)
