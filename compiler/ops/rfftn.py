from __future__ import annotations

from lamina.compiler.fourier import Axis, Norm, RealAnalysis, analysed
from lamina.compiler.op import Example, Positive
from lamina.schema.dims import TensorType


class Rfftn(RealAnalysis):
    """The discrete Fourier transform of a real signal along `dims` (all when None): frequencies 0 to n // 2 along the last of them, all n
    along the others.

    x: float, any shape; y: (real part, imaginary part). `modes`, a number or one for each of `dims`, keeps the lowest frequencies only and
    costs as much less: m of the last dim, 2 m of another, of either sign in the order 0 to m - 1, -m to -1. `norm` as in `rfft`.
    Source: torch.fft.rfftn.
    """

    name = "rfftn"
    dims: list[int] | None = None
    modes: Positive | list[Positive] | None = None
    norm: Norm = "backward"
    examples = (
        Example({"dims": [-3, -2, -1]}, ["float32[b, 2, 6, 5, 4]"]),
        Example({"dims": [-3, -2, -1], "norm": "ortho"}, ["float32[b, h, w, t]"]),
        Example({"dims": [1, 2, 3], "modes": [2, 3, 3]}, ["float32[b, h, w, t, 2]"]),
        Example({}, ["float32[6, 5]"]),
        Example({"dims": [3, 1], "norm": "forward"}, ["float32[b, 6, 2, 5]"]),
        Example({"dims": [1, 2]}, ["float32[b, 640, 4]"]),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return analysed(x, self.dims, self.modes, self.norm, half=True)
