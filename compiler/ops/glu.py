from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, axis, need_float
from lamina.schema.dims import TensorType


class Glu(Op):
    """y = a * sigmoid(b), where a and b are the two halves of x along `dim`.

    x: float, its dim `dim` even. y: like x, that dim halved. Source: torch.nn.GLU, arXiv 1612.08083.
    """

    name = "glu"
    dim: int = -1
    examples = (
        Example({}, ["float32[b, t, 8]"]),
        Example({"dim": 1}, ["float32[b, 6, h, w]"]),
        Example({"dim": 2}, ["float32[b, 3, h, w]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_float(x)
        at = axis(self.dim, x)
        if x.shape[at] % 2 != 0:
            raise OpError(f"`dim` is {self.dim}, but dim {at} of {x} is not known to be even", "declare multiple_of: 2 in `dims`")
        return x.with_shape((*x.shape[:at], x.shape[at] // 2, *x.shape[at + 1 :]))

    def define(self, g: Builder, x: Value) -> Value:
        a, b = g("Split", x, outputs=2, axis=self.dim, num_outputs=2)
        return g("Mul", a, g("Sigmoid", b))
