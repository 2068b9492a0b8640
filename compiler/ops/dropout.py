from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, fast_path, need_float
from lamina.schema.dims import TensorType


class Dropout(Op):
    """y = x; in PyTorch's train mode every element is dropped with probability p, and the others are divided by 1 - p.

    x: float, any shape. y: like x. Source: torch.nn.Dropout.
    """

    name = "dropout"
    p: Annotated[float, Field(ge=0, lt=1)] = 0.5
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"p": 0.0}, ["float32[b, t, 8]"]),
        Example({"p": 0.1}, ["float16[b, 3, h, w]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_float(x)
        return x

    def define(self, g: Builder, x: Value) -> Value:
        return g("Dropout", x, g.constant(self.p, "float32"))

    @fast_path("onnx", "onnxruntime", "tensorrt")
    def kept(self, g: Builder, x: Value) -> Value:
        """These never train, so that what stands behind it may be merged with what stands before."""
        return g("Identity", x)
