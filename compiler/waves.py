"""Matrices of cosines and sines, and products with them along one axis: what Fourier and cosine transforms are made of.

Frequency times place is reduced modulo the period as an integer, so that no angle is large and no digit is lost at any size. Where
all sizes are fixed the matrices are constants, else they are made at run time from a table of one period.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.compiler import elementary
from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.rules import as_scalar, integers_below
from lamina.schema.dims import Dim, Size

Array = np.ndarray[Any, Any]
Matrix = Array | Value
FINE = 64


@dataclass(frozen=True, slots=True)
class Integers:
    """start, start + step, ... `count` of them."""

    count: Size
    start: Size = 0
    step: int = 1

    def array(self) -> Array | None:
        """Their numbers, where these are known."""
        if isinstance(self.count, Dim) or isinstance(self.start, Dim):
            return None
        return self.start + self.step * np.arange(self.count)

    def value(self, g: Builder) -> Value:
        """int64, one-dimensional."""
        array = self.array()
        if array is not None:
            return g.ints(*array.tolist())
        below = integers_below(g, self.count)
        scaled = below if self.step == 1 else g("Mul", below, g.ints(self.step))
        return scaled if self.start == 0 else g("Add", scaled, g.size(self.start))


@dataclass(frozen=True, slots=True)
class Waves:
    """factor * base ** power * cos(2 pi * frequency * place / period), and the sine; `frequencies` are those of one part after the other.
    Frequencies that are their own mirror image (0 and half the period) are multiplied by `edge` too."""

    frequencies: tuple[Integers, ...]
    places: Integers
    period: Size
    base: Size
    power: float
    factor: float = 1.0
    edge: float = 1.0

    def matrices(self, g: Builder, dtype: str, *, by_frequency: bool) -> tuple[Matrix, Matrix]:
        """Cosines and sines as [frequencies, places], or as [places, frequencies]."""
        arrays = [part.array() for part in self.frequencies]
        frequencies = [a for a in arrays if a is not None]
        places = self.places.array()
        if len(frequencies) < len(arrays) or places is None or isinstance(self.period, Dim) or isinstance(self.base, Dim):
            return self._computed(g, dtype, by_frequency)
        column = np.concatenate(frequencies)[:, None]
        scale = np.where(2 * column % self.period == 0, self.edge, 1.0) * self.factor * elementary.power(self.base, self.power)
        angles = (column * places % self.period) * (2 * math.pi / self.period)
        cos, sin = scale * elementary.cos(angles), scale * elementary.sin(angles)
        return (cos, sin) if by_frequency else (cos.T, sin.T)

    def _computed(self, g: Builder, dtype: str, by_frequency: bool) -> tuple[Value, Value]:
        """By run-time sizes. Few waves are read from a table; all others are these, turned by angles that are read from it too."""
        wide = dtype if dtype in ("float32", "float64") else "float32"
        parts = [part.value(g) for part in self.frequencies]
        frequencies = parts[0] if len(parts) == 1 else g("Concat", *parts, axis=0)
        period = as_scalar(g, self.period, "int64")
        table = _Table.make(g, period, integers_below(g, self.period), wide)
        fine = Integers(FINE, self.places.start, self.places.step)
        coarse = Integers((self.places.count + FINE - 1) // FINE, 0, FINE * self.places.step)
        scale = self._scale(g, frequencies, period, wide)
        # [frequencies, coarse, fine], or [coarse, fine, frequencies]
        cos_a, sin_a = table.read(g, frequencies, coarse.value(g), (2,) if by_frequency else (1,), by_frequency)
        cos_b, sin_b = table.read(g, frequencies, fine.value(g), (1,) if by_frequency else (0,), by_frequency)
        scale = g("Reshape", scale, g.ints(-1, 1, 1) if by_frequency else g.ints(-1))
        cos_b, sin_b = g("Mul", cos_b, scale), g("Mul", sin_b, scale)
        cos = g("Sub", g("Mul", cos_a, cos_b), g("Mul", sin_a, sin_b))
        sin = g("Add", g("Mul", sin_a, cos_b), g("Mul", cos_a, sin_b))
        return self._cut(g, cos, by_frequency, dtype, wide), self._cut(g, sin, by_frequency, dtype, wide)

    def _cut(self, g: Builder, waves: Value, by_frequency: bool, dtype: str, wide: str) -> Value:
        count = sum((part.count for part in self.frequencies[1:]), self.frequencies[0].count)
        shape = g.ints(0, -1) if by_frequency else g("Concat", g.ints(-1), g.size(count), axis=0)
        y = g("Slice", g("Reshape", waves, shape), g.ints(0), g.size(self.places.count), g.ints(int(by_frequency)))
        return y if wide == dtype else g("Cast", y, to=ONNX_DTYPE[dtype])

    def _scale(self, g: Builder, frequencies: Value, period: Value, dtype: str) -> Value:
        """One number for each frequency, or one for all."""
        scale = g("Mul", to_power(g, self.base, self.power, dtype), g.constant(self.factor, dtype))
        if self.edge == 1.0:
            return scale
        mirrored = g("Equal", g("Mod", g("Mul", frequencies, g.constant(2, "int64")), period), g.constant(0, "int64"))
        return g("Mul", scale, g("Where", mirrored, g.constant(self.edge, dtype), g.constant(1.0, dtype)))


@dataclass(frozen=True, slots=True)
class _Table:
    """Cosine and sine at every place of one period, from half of it before 0: small angles are exact."""

    period: Value
    middle: Value
    cos: Value
    sin: Value

    @staticmethod
    def make(g: Builder, period: Value, places: Value, dtype: str) -> _Table:
        middle = g("Div", period, g.constant(2, "int64"))
        turns = g("Cast", g("Sub", places, middle), to=ONNX_DTYPE[dtype])
        angles = g("Div", g("Mul", turns, g.constant(2 * math.pi, dtype)), g("Cast", period, to=ONNX_DTYPE[dtype]))
        return _Table(period, middle, g("Cos", angles), g("Sin", angles))

    def read(self, g: Builder, frequencies: Value, places: Value, new: tuple[int, ...], by_frequency: bool) -> tuple[Value, Value]:
        """At frequency times place, [frequencies, places] or [places, frequencies], with new axes of size 1."""
        column, row = (frequencies, places) if by_frequency else (places, frequencies)
        turns = g("Add", g("Mul", g("Reshape", column, g.ints(-1, 1)), row), self.middle)
        at = g("Unsqueeze", g("Mod", turns, self.period), g.ints(*new))
        return g("Gather", self.cos, at), g("Gather", self.sin, at)


def to_power(g: Builder, size: Size, power: float, dtype: str) -> Value:
    """size ** power for powers 1/2, 0, -1/2, ... as a scalar."""
    if isinstance(size, int):
        return g.constant(elementary.power(size, power), dtype)
    return g("Pow", as_scalar(g, size, dtype), g.constant(power, dtype))


def negative(g: Builder, matrix: Matrix) -> Matrix:
    """Its negative."""
    return g("Neg", matrix) if isinstance(matrix, Value) else -matrix


def along(g: Builder, at: int, shape: Sequence[Size], matrix: Matrix, x: Value, dtype: str) -> Value:
    """The product along axis `at` of x, which has this shape: x @ matrix for the last axis, matrix @ x for another."""
    factor = matrix if isinstance(matrix, Value) else g.constant(matrix, dtype)
    if at == len(shape) - 1:
        return g("MatMul", x, factor)
    if at == len(shape) - 2:
        return g("MatMul", factor, x)
    # The axes behind become one: a product needs no transpose.
    flat = g("Reshape", x, g("Concat", g.shape(shape[: at + 1]), g.ints(-1), axis=0))
    y = g("MatMul", factor, flat)
    return g("Reshape", y, g("Concat", g.shape(shape[:at]), g.ints(-1), g.shape(shape[at + 1 :]), axis=0))
