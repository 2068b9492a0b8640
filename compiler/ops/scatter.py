from __future__ import annotations

from typing import Literal

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, axis
from lamina.compiler.rules import at_most
from lamina.schema.dims import TensorType


class Scatter(Op):
    """x with y[..., index[..., i, ...], ...] set to source[..., i, ...] along `dim`, or combined with it as `reduce` says.

    x: any dtype, any shape but a scalar; index: int32 or int64, source: of x's dtype; both of one shape, with x's rank and no larger in any
    other dimension. With `none` and equal indices, which one stays is not defined. Source: torch.scatter_reduce; onnx ScatterElements.
    """

    name = "scatter"
    dim: int
    reduce: Literal["none", "add", "mul", "max", "min"] = "none"
    examples = (
        Example({"dim": 1, "reduce": "add"}, ["float32[b, 8]", "int64[b, t]", "float32[b, t]"], values="index:8"),
        Example({"dim": 0, "reduce": "max"}, ["float32[7, t]", "int64[3, t]", "float32[3, t]"], values="index:7"),
        Example({"dim": -1, "reduce": "mul"}, ["float32[b, 6]", "int32[b, 2]", "float32[b, 2]"], values="index:6"),
        Example({"dim": 1}, ["float32[b, 8]", "int64[b, 1]", "float32[b, 1]"], values="index:8"),
    )

    def infer(self, x: TensorType, index: TensorType, source: TensorType) -> TensorType:
        need_dtype(index, ("int64", "int32"), "the index")
        same_dtype(x, source)
        at = axis(self.dim, x)
        if index.shape != source.shape or index.rank != x.rank:
            raise OpError(f"the index {index} and the source {source} must have one shape, of as many dimensions as {x}")
        for i, (part, whole) in enumerate(zip(index.shape, x.shape, strict=True)):
            if i != at and not at_most(part, whole):
                raise OpError(f"dimension {i} of the index {index} is larger than that of {x}")
        return x

    def define(self, g: Builder, x: Value, index: Value, source: Value) -> Value:
        return g("ScatterElements", x, index, source, axis=self.dim, reduction=self.reduce)
