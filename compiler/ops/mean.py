from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.compiler.reductions import Reduction
from lamina.schema.dims import FLOATS


class Mean(Reduction):
    """y = mean of x over `dims` (all when None). x: float, any shape. Source: torch.mean."""

    name = "mean"
    dtypes = FLOATS
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"dims": [2, 3]}, ["float32[b, 3, h, w]"]),
        Example({"dims": -1, "keepdim": True}, ["float32[t]"]),
    )

    def define(self, g: Builder, x: Value) -> Value:
        return self.reduce(g, "ReduceMean", x)
