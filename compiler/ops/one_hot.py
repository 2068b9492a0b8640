from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_dtype
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, OpError, SizeArg
from lamina.compiler.rules import at_most, integers_below
from lamina.schema.dims import INTEGERS, DType, TensorType


class OneHot(Op):
    """y[..., c] = 1 where x = c, else 0; a value outside 0 to classes - 1 gives zeros.

    x: integers, any shape; y: [*x, classes]. Source: torch.nn.functional.one_hot.
    """

    name = "one_hot"
    classes: SizeArg
    dtype: DType = "float32"
    examples = (
        Example({"classes": 5}, ["int64[b, t]"], values="index:5"),
        Example({"classes": "t", "dtype": "int64"}, ["int32[b]"], values="index:4"),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_dtype(x, INTEGERS)
        if not at_most(1, self.classes):
            raise OpError(f"`classes` is {self.classes}, but it must be at least 1")
        return TensorType(self.dtype, (*x.shape, self.classes))

    def define(self, g: Builder, x: Value) -> Value:
        classes = integers_below(g, self.classes)
        hit = g("Equal", g("Unsqueeze", g("Cast", x, to=ONNX_DTYPE["int64"]), g.ints(-1)), classes)
        return hit if self.dtype == "bool" else g("Cast", hit, to=ONNX_DTYPE[self.dtype])
