from __future__ import annotations

from lamina.compiler.fourier import Axis, Norm, RealAnalysis, analysed
from lamina.compiler.op import Example, Positive
from lamina.schema.dims import TensorType


class Rfft(RealAnalysis):
    """The discrete Fourier transform of a real signal along `dim`: frequencies 0 to n // 2, the others being their conjugates.

    x: float, any shape; y: (real part, imaginary part), `dim` of size n // 2 + 1, or `modes`, which keeps only the lowest and costs as
    much less. `norm` as in PyTorch: 'backward' scales the inverse by 1 / n, 'forward' this, 'ortho' both by 1 / sqrt(n).
    Source: torch.fft.rfft.
    """

    name = "rfft"
    dim: int = -1
    modes: Positive | None = None
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, 12]"]),
        Example({"norm": "ortho"}, ["float32[b, 7]"]),
        Example({}, ["float32[b, t]"]),
        Example({"dim": 1, "norm": "forward"}, ["float32[b, t, 5]"]),
        Example({"dim": 1, "modes": 3}, ["float32[b, t, 2, 3]"]),
        Example({"modes": 4, "norm": "ortho"}, ["float32[9]"]),
        Example({"norm": "ortho"}, ["float32[b, 600]"]),
        Example({"dim": 1}, ["float32[b, 1024, 3]"]),
    )

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        return analysed(x, self.dim, self.modes, self.norm, half=True)
