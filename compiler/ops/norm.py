from __future__ import annotations

from typing import Literal

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example
from lamina.compiler.reductions import Reduction
from lamina.schema.dims import FLOATS


class Norm(Reduction):
    """y = sum(|x|) for `p` 1, sqrt(sum(x^2)) for `p` 2, over `dims` (all when None).

    x: float, any shape. Source: torch.linalg.vector_norm.
    """

    name = "norm"
    dtypes = FLOATS
    p: Literal[1, 2] = 2
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"dims": [2, 3], "p": 1}, ["float32[b, 3, h, w]"]),
        Example({"dims": -1, "keepdim": True}, ["float32[b, t]"]),
    )

    def define(self, g: Builder, x: Value) -> Value:
        return self.reduce(g, f"ReduceL{self.p}", x)
