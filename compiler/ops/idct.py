from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.cosine import Kind, inverse, transform, transformed
from lamina.compiler.fourier import Norm
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, SizeArg
from lamina.schema.dims import TensorType


class Idct(Op):
    """The inverse of `dct` of the same `type` and `norm` along each of `dims`.

    x: float, any shape; y: the same, or `size` along `dims` (a size, or one for each): elements that x lacks are zero, so that a signal is
    made of its lowest frequencies. Source: scipy.fft.idctn.
    """

    name = "idct"
    dims: int | list[int] = -1
    type: Kind = 2
    size: SizeArg | list[SizeArg] | None = None
    norm: Norm = "backward"
    examples = (
        Example({}, ["float32[b, 3, 7]"]),
        Example({"norm": "ortho"}, ["float32[b, t]"]),
        Example({"dims": [-2, -1], "norm": "ortho", "size": ["h", "w"]}, ["float32[b, 2, 3, 5]"]),
        Example({"dims": 1, "type": 3}, ["float32[b, t, 2, 3]"]),
        Example({"dims": [1, 2], "type": 3, "norm": "ortho"}, ["float32[b, 6, 5]"]),
        Example({"norm": "forward", "size": 9}, ["float32[b, 4]"]),
        Example({"type": 3, "norm": "forward", "size": "t"}, ["float32[b, 4]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        return transformed(x, inverse(x, self.dims, self.type, self.size, self.norm))

    def define(self, g: Builder, x: Value) -> Value:
        return transform(g, inverse(TensorType(x.dtype, x.shape), self.dims, self.type, self.size, self.norm), x)
