from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import NUMBERS, need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE, numpy_dtype
from lamina.compiler.op import Example, Op, OpError, axis, fast_path
from lamina.compiler.rules import as_scalar, at_most, integers_below
from lamina.compiler.segments import combined
from lamina.schema.dims import FLOATS, Size, TensorType

_REDUCE = {"add": ("ReduceSum", "Add"), "mul": ("ReduceProd", "Mul"), "max": ("ReduceMax", "Max"), "min": ("ReduceMin", "Min")}


class Scatter(Op):
    """x with y[..., index[..., i, ...], ...] set to source[..., i, ...] along `dim`, or combined with it as `reduce` says.

    x: any dtype (numbers, where they are combined), any shape but a scalar; index: int32 or int64, source: of x's dtype; both of one shape,
    with x's rank and no larger in any other dimension. With `none` and equal indices, which one stays is not defined.
    Source: torch.scatter_reduce; onnx ScatterElements.
    """

    name = "scatter"
    dim: int
    reduce: Literal["none", "add", "mul", "max", "min"] = "none"
    examples = (
        Example({"dim": 1, "reduce": "add"}, ["float32[b, 8]", "int64[b, t]", "float32[b, t]"], values="index:8"),
        Example({"dim": 0, "reduce": "max"}, ["float32[7, t]", "int64[3, t]", "float32[3, t]"], values="index:7"),
        Example({"dim": -1, "reduce": "mul"}, ["float32[b, 6]", "int32[b, 2]", "float32[b, 2]"], values="index:6"),
        Example({"dim": 0, "reduce": "min"}, ["float32[5, 4, t]", "int64[t, 3, 2]", "float32[t, 3, 2]"], values="index:5"),
        Example({"dim": 1}, ["float32[b, 8]", "int64[b, 1]", "float32[b, 1]"], values="index:8"),
    )

    def infer(self, x: TensorType, index: TensorType, source: TensorType) -> TensorType:
        need_dtype(index, ("int64", "int32"), "the index")
        same_dtype(x, source)
        if self.reduce != "none":
            need_dtype(x, NUMBERS)
        at = axis(self.dim, x)
        if index.shape != source.shape or index.rank != x.rank:
            raise OpError(f"the index {index} and the source {source} must have one shape, of as many dimensions as {x}")
        for i, (part, whole) in enumerate(zip(index.shape, x.shape, strict=True)):
            if i != at and not at_most(part, whole):
                raise OpError(f"dimension {i} of the index {index} is larger than that of {x}")
        return x

    def indexed(self, x: TensorType, index: TensorType, source: TensorType) -> Mapping[int, tuple[Size, Size]]:
        size = x.shape[self.dim]
        return {1: (-size, size)}

    def define(self, g: Builder, x: Value, index: Value, source: Value) -> Value:
        return g("ScatterElements", x, index, source, axis=self.dim, reduction=self.reduce)

    @fast_path("onnx", "onnxruntime")
    def in_float32(self, g: Builder, x: Value, index: Value, source: Value) -> Any:
        """What ONNX Runtime cannot combine as it is."""
        return NotImplemented if self.reduce == "none" else combined(g, x.dtype, x, index, source, self.dim, self.reduce)

    @fast_path("tensorrt")
    def by_mask(self, g: Builder, x: Value, index: Value, source: Value) -> Any:
        """Every element of x reduces over a row of all sources, masked: there is no scatter that reduces."""
        if self.reduce == "none":
            return NotImplemented
        dim, neutral = self.dim % x.rank, g.scalar(_neutral(self.reduce, x.dtype), x)
        reduce, combine = _REDUCE[self.reduce]
        # Mod, since a negative index counts from the end.
        rows = g("Mod", index if index.dtype == "int64" else g("Cast", index, to=ONNX_DTYPE["int64"]), as_scalar(g, x.shape[dim], "int64"))
        targets = g("Reshape", integers_below(g, x.shape[dim]), g.ints(-1, *[1] * (x.rank - dim)))
        hits = g("Equal", targets, g("Unsqueeze", rows, g.ints(dim)))
        found = g(reduce, g("Where", hits, g("Unsqueeze", source, g.ints(dim)), neutral), g.ints(dim + 1), keepdims=0)
        missing = [0 if i == dim else n - k for i, (n, k) in enumerate(zip(x.shape, index.shape, strict=True))]
        if any(size != 0 for size in missing):
            found = g("Pad", found, g.shape([*[0] * x.rank, *missing]), neutral)
        return g(combine, x, found)


def _neutral(reduce: str, dtype: str) -> float:
    """What a reduction starts from."""
    if reduce in ("add", "mul"):
        return int(reduce == "mul")
    if dtype in FLOATS:
        return float("-inf" if reduce == "max" else "inf")
    info = np.iinfo(numpy_dtype(dtype))
    return int(info.min if reduce == "max" else info.max)
