from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import BOOL
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example
from lamina.compiler.reductions import Reduction


class All(Reduction):
    """y = whether every x is true over `dims` (all when None). x: bool, any shape. Source: torch.all."""

    name = "all"
    dtypes = BOOL
    examples = (Example({}, ["bool[b, 8]"]), Example({"dims": [-1], "keepdim": True}, ["bool[b, t, 2]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Cast", self.reduce(g, "ReduceMin", g("Cast", x, to=ONNX_DTYPE["int32"]), x), to=ONNX_DTYPE["bool"])
