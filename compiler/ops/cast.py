from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op
from lamina.schema.dims import DType, TensorType


class Cast(Op):
    """x in another dtype: floats are cut towards zero for an integer, and anything but zero is true.

    x: any dtype and shape; y: dtype `to`. A float outside an integer's range has no defined result. Source: torch.Tensor.to; onnx Cast.
    """

    name = "cast"
    to: DType
    examples = (
        Example({"to": "int64"}, ["float32[b, 8]"]),
        Example({"to": "float32"}, ["bool[b, t]"]),
        Example({"to": "bool"}, ["int64[t]"]),
        Example({"to": "float16"}, ["float32[b, 8]"]),
        Example({"to": "int32"}, ["int32[b]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(self.to, x.shape)

    def integers(self, y: TensorType, x: Known) -> Known:
        return x

    def define(self, g: Builder, x: Value) -> Value:
        return x if x.dtype == self.to else g("Cast", x, to=ONNX_DTYPE[self.to])
