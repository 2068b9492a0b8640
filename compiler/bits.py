"""Bits of integers by arithmetic, for targets that have no bitwise operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE, numpy_dtype


def both(g: Builder, x: Value, y: Value) -> Value:
    """x and y, bit by bit, as int64: one plane for each bit below the sign. x, y: integers of one dtype, shapes broadcast."""
    info = np.iinfo(numpy_dtype(x.dtype))
    weights = [2**i for i in range(int(info.max).bit_length())]
    wide = [as_int64(g, v) for v in (x, y)]
    z = _weighted(g, g("Mul", *(_planes(g, v, g.constant(weights, "int64"), int(info.min)) for v in wide)), weights)
    if info.min == 0:
        return z
    zero = g.constant(0, "int64")
    signs = g("And", *(g("Less", v, zero) for v in wide))
    return g("Add", z, g("Where", signs, g.constant(info.min, "int64"), zero))


def as_int64(g: Builder, x: Value) -> Value:
    """x itself, or as int64."""
    return x if x.dtype == "int64" else g("Cast", x, to=ONNX_DTYPE["int64"])


def narrowed(g: Builder, z: Value, dtype: str) -> Value:
    """An int64 as the dtype asked for."""
    return z if dtype == "int64" else g("Cast", z, to=ONNX_DTYPE[dtype])


def _weighted(g: Builder, planes: Value, weights: Sequence[int]) -> Value:
    """The number whose bits these are. ONNX Runtime sums int64 as float64, so no sum may reach 2^53."""
    low, high = [w % 2**32 for w in weights], [w // 2**32 for w in weights]
    z = g("ReduceSum", g("Mul", planes, g.constant(low, "int64")), g.ints(-1), keepdims=0)
    if not any(high):
        return z
    upper = g("ReduceSum", g("Mul", planes, g.constant(high, "int64")), g.ints(-1), keepdims=0)
    return g("Add", z, g("Mul", upper, g.constant(2**32, "int64")))


def _planes(g: Builder, x: Value, weights: Value, lowest: int) -> Value:
    """0 or 1 for every bit below the sign, in a new last dimension."""
    # Without its sign bit a negative number is x - lowest, so that every division below is of numbers that are not negative.
    zero, two = g.constant(0, "int64"), g.constant(2, "int64")
    rest = g("Where", g("Less", x, zero), g("Sub", x, g.constant(lowest, "int64")), x) if lowest else x
    shifted = g("Div", g("Unsqueeze", rest, g.ints(-1)), weights)
    return g("Sub", shifted, g("Mul", g("Div", shifted, two), two))
