"""Fourier transforms of large sizes in two products: a size A * B costs A + B for each sample and not A * B.

With n = B n1 + n2 and k = k1 + A k2, exp(2 pi i k n / AB) is exp(2 pi i k1 n1 / A) exp(2 pi i k1 n2 / AB) exp(2 pi i k2 n2 / B).
Source: Cooley and Tukey, An algorithm for the machine calculation of complex Fourier series, 1965.
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
from lamina.compiler.waves import along
from lamina.schema.dims import Size

Array = np.ndarray[Any, Any]
OVERHEAD = 200  # multiply-adds of a product that cost as much as the passes over each sample that only this form makes


@dataclass(frozen=True, slots=True)
class Factors:
    """samples = a * b; the frequencies below `kept` are those of `rows` rows of a."""

    a: int
    b: int
    kept: int

    @property
    def rows(self) -> int:
        return -(-self.kept // self.a)


def factors(samples: Size, kept: Size) -> Factors | None:
    """The factors with which two products cost the least; None where one product with the whole matrix costs less."""
    if not isinstance(samples, int) or not isinstance(kept, int):
        return None
    found = [Factors(a, samples // a, kept) for a in range(2, samples // 2 + 1) if samples % a == 0]
    best = min(found, key=_cost, default=None)
    return best if best is not None and _cost(best) + OVERHEAD < 2 * kept else None


def _cost(f: Factors) -> int:
    return 2 * f.a + 4 * f.rows


def analyse_in_two(
    g: Builder, at: int, shape: Sequence[Size], f: Factors, scale: float, x: Value, im: Value | None, dtype: str
) -> tuple[Value, Value]:
    """The frequencies 0 to kept - 1 along axis `at` of a signal of this shape, times `scale`."""
    apart = [*shape[:at], f.a, f.b, *shape[at + 1 :]]
    re: Value = g("Reshape", x, g.shape(apart))
    im = None if im is None else g("Reshape", im, g.shape(apart))
    re, im = _turned(g, at, apart, -_angles(f.a, f.a, f.a), 1.0, re, im, dtype)
    re, im = _twisted(g, -_angles(f.a, f.b, f.a * f.b), len(shape) - at - 1, re, im, dtype)
    re, im = _turned(g, at + 1, apart, -_angles(f.rows, f.b, f.b), scale, re, im, dtype)
    joined = [*shape[:at], f.rows * f.a, *shape[at + 1 :]]
    swapped = _swap(at, len(apart))
    ends = g.ints(0), g.ints(f.kept), g.ints(at)
    parts = [g("Reshape", g.transpose(part, *swapped), g.shape(joined)) for part in (re, im) if part is not None]
    if f.rows * f.a != f.kept:
        parts = [g("Slice", part, *ends) for part in parts]
    return parts[0], parts[1]


def synthesise_in_two(
    g: Builder, at: int, shape: Sequence[Size], f: Factors, weights: Array, real: bool, pair: tuple[Value, Value], dtype: str
) -> tuple[Value, Value | None]:
    """The signal of `kept` frequencies along axis `at`, each times its weight; only its real part where `real`."""
    after = len(shape) - at - 1
    column = g.constant(weights.reshape(-1, *[1] * after), dtype)
    parts = [g("Mul", part, column) for part in pair]
    missing = f.rows * f.a - f.kept
    if missing:
        parts = [g("Pad", part, g.ints(0, missing), None, g.ints(at)) for part in parts]
    apart = [*shape[:at], f.rows, f.a, *shape[at + 1 :]]
    re: Value = g("Reshape", parts[0], g.shape(apart))
    im: Value | None = g("Reshape", parts[1], g.shape(apart))
    re, im = _turned(g, at, apart, _angles(f.b, f.rows, f.b), 1.0, re, im, dtype)
    re, im = _twisted(g, _angles(f.b, f.a, f.a * f.b), after, re, im, dtype)
    apart[at] = f.b
    re, im = _turned(g, at + 1, apart, _angles(f.a, f.a, f.a), 1.0, re, im, dtype, real=real)
    joined = [*shape[:at], f.a * f.b, *shape[at + 1 :]]
    done = [None if part is None else g("Reshape", g.transpose(part, *_swap(at, len(apart))), g.shape(joined)) for part in (re, im)]
    assert done[0] is not None
    return done[0], done[1]


def _angles(rows: int, columns: int, period: int) -> Array:
    """2 pi row column / period, reduced as integers so that no digit is lost."""
    turns = np.arange(rows)[:, None] * np.arange(columns) % period
    angles: Array = turns * (2 * math.pi / period)
    return angles


def _turned(
    g: Builder, at: int, shape: Sequence[Size], angles: Array, scale: float, re: Value, im: Value | None, dtype: str, real: bool = False
) -> tuple[Value, Value | None]:
    """(re + i im) exp(i angles) along an axis, for angles [new, old]."""
    cos, sin = scale * elementary.cos(angles), scale * elementary.sin(angles)
    if at == len(shape) - 1:
        cos, sin = cos.T, sin.T
    if im is None:
        return along(g, at, shape, cos, re, dtype), along(g, at, shape, sin, re, dtype)
    new = g("Sub", along(g, at, shape, cos, re, dtype), along(g, at, shape, sin, im, dtype))
    return new, None if real else g("Add", along(g, at, shape, sin, re, dtype), along(g, at, shape, cos, im, dtype))


def _twisted(g: Builder, angles: Array, after: int, re: Value, im: Value | None, dtype: str) -> tuple[Value, Value]:
    """(re + i im) exp(i angles), element by element; `after` axes follow those of the angles."""
    assert im is not None
    cos, sin = (g.constant(wave.reshape(*angles.shape, *[1] * after), dtype) for wave in (elementary.cos(angles), elementary.sin(angles)))
    return g("Sub", g("Mul", re, cos), g("Mul", im, sin)), g("Add", g("Mul", re, sin), g("Mul", im, cos))


def _swap(at: int, rank: int) -> list[int]:
    return [*range(at), at + 1, at, *range(at + 2, rank)]
