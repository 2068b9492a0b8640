from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, NonNegative
from lamina.compiler.reductions import Reduction, spread, variance
from lamina.schema.dims import FLOATS, TensorType


class Var(Reduction):
    """y = sum((x - mean(x))^2) / (n - correction) over the n elements of `dims` (all when None).

    x: float, any shape. `correction` 1 is the sample's variance, 0 the population's. Source: torch.var.
    """

    name = "var"
    dtypes = FLOATS
    correction: NonNegative = 1
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"dims": [2, 3]}, ["float32[b, 3, h, w]"]),
        Example({"dims": -1, "keepdim": True, "correction": 0}, ["float32[b, t]"]),
        Example({"dims": 1}, ["float32[b, 6, t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        spread(x, self.dims, self.correction)
        return super().infer(x)

    def define(self, g: Builder, x: Value) -> Value:
        return variance(g, x, self.dims, self.keepdim, self.correction)
