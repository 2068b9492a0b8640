from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, axis
from lamina.schema.dims import TensorType


class L2Normalize(Unary):
    """y = x / max(sqrt(sum(x^2)), eps) along `dim`. x: float, any shape but a scalar. Source: torch.nn.functional.normalize."""

    name = "l2_normalize"
    dim: int = -1
    eps: float = 1e-12
    examples = (Example({}, ["float32[b, 8]"]), Example({"dim": 1, "eps": 2.0}, ["float32[b, 3, h, w]"]))

    def infer(self, x: TensorType) -> TensorType:
        axis(self.dim, x)
        return super().infer(x)

    def define(self, g: Builder, x: Value) -> Value:
        length = g("ReduceL2", x, g.ints(self.dim), keepdims=1)
        return g("Div", x, g("Max", length, g.scalar(self.eps, x)))
