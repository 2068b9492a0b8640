from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.cosine import Kind, forward, transform, transformed
from lamina.compiler.fourier import Norm
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Positive
from lamina.schema.dims import TensorType


class Dct(Op):
    """The discrete cosine transform along each of `dims`: y_k = 2 sum_j x_j cos(pi k (2 j + 1) / 2n) of type 2, and of type 3
    y_k = x_0 + 2 sum_(j > 0) x_j cos(pi j (2 k + 1) / 2n).

    x: float, any shape; y: the same, or only the first `modes` of each of `dims` (a number, or one for each), at as much less cost. `norm`
    as in SciPy: 'backward' scales the inverse by 1 / 2n, 'forward' this, 'ortho' makes both orthonormal. Compresses images, solves
    differential equations with free ends, mixes tokens. Source: scipy.fft.dctn.
    """

    name = "dct"
    dims: int | list[int] = -1
    type: Kind = 2
    modes: Positive | list[Positive] | None = None
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, 7]"]),
        Example({"norm": "ortho"}, ["float32[b, t]"]),
        Example({"dims": [-2, -1], "norm": "ortho", "modes": [3, 5]}, ["float32[b, 2, h, w]"]),
        Example({"dims": 1, "type": 3}, ["float32[b, t, 2, 3]"]),
        Example({"dims": [1, 2], "type": 3, "norm": "ortho"}, ["float32[b, 6, 5]"]),
        Example({"type": 2, "norm": "forward", "modes": 4}, ["float32[9]"]),
        Example({"type": 3, "norm": "forward"}, ["float32[b, 8]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        return transformed(x, forward(x, self.dims, self.type, self.modes, self.norm))

    def define(self, g: Builder, x: Value) -> Value:
        return transform(g, forward(TensorType(x.dtype, x.shape), self.dims, self.type, self.modes, self.norm), x)
