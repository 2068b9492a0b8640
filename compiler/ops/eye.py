from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, SizeArg
from lamina.compiler.rules import integers_below, sizes
from lamina.schema.dims import DType, TensorType


class Eye(Op):
    """The identity matrix [n, n]; n may be dynamic. Source: torch.eye."""

    name = "eye"
    n: SizeArg
    dtype: DType = "float32"
    examples = (Example({"n": 4}, []), Example({"n": "t"}, []), Example({"n": "b", "dtype": "bool"}, []))

    def infer(self) -> TensorType:
        return TensorType(self.dtype, sizes([self.n, self.n]))

    def define(self, g: Builder) -> Value:
        column = integers_below(g, self.n)
        same = g("Equal", g("Unsqueeze", column, g.ints(1)), column)
        return same if self.dtype == "bool" else g("Cast", same, to=ONNX_DTYPE[self.dtype])
