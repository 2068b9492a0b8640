from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from lamina.compiler import elementary
from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, OpError, Positive
from lamina.schema.dims import FLOATS, TensorType


class SinusoidalEmbedding(Op):
    """Sines and cosines of x * base ^ (-2 i / dim): a position, time step or noise level as a vector.

    x: a number of any dtype but bool, any shape. y: [*x, dim], x's dtype if it is floating point, else float32: the sines of
    i = 0 .. dim / 2 - 1, then the cosines; with `interleaved` sin, cos, sin, cos. Source: arXiv 1706.03762, arXiv 2006.11239.
    """

    name = "sinusoidal_embedding"
    dim: Positive
    base: Annotated[float, Field(gt=0)] = 10000.0
    interleaved: bool = False
    examples = (
        Example({"dim": 8}, ["int64[b, t]"], values="index:100"),
        Example({"dim": 6, "base": 100.0}, ["float32[b]"]),
        Example({"dim": 8, "interleaved": True}, ["int32[t]"], values="index:100"),
        Example({"dim": 4}, ["float16[b, t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        if x.dtype == "bool":
            raise OpError(f"the input must be a number, but it is {x}", "convert it with cast(x, 'int64')", "dtype")
        if self.dim % 2:
            raise OpError(f"`dim` is {self.dim}, but it must be even: half sines, half cosines", code="value")
        return TensorType(x.dtype if x.dtype in FLOATS else "float32", (*x.shape, self.dim))

    def define(self, g: Builder, x: Value) -> Value:
        wide = "float64" if x.dtype == "float64" else "float32"
        column = g("Unsqueeze", g("Cast", x, to=ONNX_DTYPE[wide]), g.ints(-1))
        angles = g("Mul", column, g.constant(elementary.power(self.base, -np.arange(0, self.dim, 2) / self.dim), wide))
        halves = g("Sin", angles), g("Cos", angles)
        if self.interleaved:
            pairs = g("Concat", *(g("Unsqueeze", half, g.ints(-1)) for half in halves), axis=-1)
            y = g("Reshape", pairs, g.ints(*(0,) * x.rank, self.dim))
        else:
            y = g("Concat", *halves, axis=-1)
        return g("Cast", y, to=ONNX_DTYPE[x.dtype]) if x.dtype in FLOATS and x.dtype != wide else y
