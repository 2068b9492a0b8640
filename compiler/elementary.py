"""Elementary functions in float64 whose bits are the same on every machine.

Libraries of mathematical functions have other forms for other processors, and their last digits differ. Here all is made of what IEEE
754 defines to the last bit: sums, products, quotients, square roots, and changes of exponents. Errors are one or two units in the last
place.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_LOG2_E = 1.4426950408889634
_LN_2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)  # in two parts, of which the first has few digits (from fdlibm)
_HALF_PI = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)  # in three, likewise
_LARGE = 2.0**19  # beyond it a product with the first part of pi / 2 is not exact
_EXP = [1 / math.factorial(n) for n in range(17, -1, -1)]
_SIN = [(-1) ** n / math.factorial(2 * n + 1) for n in range(9, -1, -1)]
_COS = [(-1) ** n / math.factorial(2 * n) for n in range(9, -1, -1)]
_LOG = [1 / (2 * n + 1) for n in range(18, 0, -1)]
_FEW = 64  # a power up to this is made of products
quiet = np.errstate(all="ignore")


@quiet
def exp(x: Array | float) -> Array:
    """e ** x."""
    x = np.clip(np.asarray(x, np.float64), -760, 720)
    turns = np.rint(x * _LOG2_E)
    rest = (x - turns * _LN_2[0]) - turns * _LN_2[1]
    return np.asarray(np.where(np.isnan(x), x, np.ldexp(_polynomial(_EXP, rest), np.nan_to_num(turns).astype(np.int32))))


@quiet
def expm1(x: Array | float) -> Array:
    """e ** x - 1, exact where that is small."""
    x = np.asarray(x, np.float64)
    small = np.abs(x) < 0.5
    return np.asarray(np.where(small, _polynomial(_EXP[:-1], np.where(small, x, 0)) * x, exp(x) - 1))


@quiet
def log(x: Array | float) -> Array:
    """The natural logarithm."""
    x = np.asarray(x, np.float64)
    mantissa, exponent = _parts(x)
    found = exponent * _LN_2[0] + (_log1p(mantissa - 1) + exponent * _LN_2[1])
    return _at_ends(x, found)


@quiet
def log2(x: Array | float) -> Array:
    """The logarithm to base 2, exact for powers of 2."""
    x = np.asarray(x, np.float64)
    mantissa, exponent = _parts(x)
    return _at_ends(x, exponent + _log1p(mantissa - 1) * _LOG2_E)


@quiet
def softplus(x: Array | float) -> Array:
    """log(1 + e ** x)."""
    x = np.asarray(x, np.float64)
    return np.asarray(np.maximum(x, 0) + _log1p(exp(-np.abs(x))))


@quiet
def sigmoid(x: Array | float) -> Array:
    """1 / (1 + e ** -x)."""
    return np.asarray(1 / (1 + exp(-np.asarray(x, np.float64))))


@quiet
def tanh(x: Array | float) -> Array:
    """The hyperbolic tangent."""
    x = np.asarray(x, np.float64)
    twice = expm1(2 * np.minimum(np.abs(x), 22))
    return np.asarray(np.copysign(twice / (twice + 2), x))


@quiet
def sin(x: Array | float) -> Array:
    """The sine."""
    turns, sine, cosine = _quarters(x)
    found = np.where(turns % 2 == 0, sine, cosine)
    return np.asarray(np.where(turns % 4 < 2, found, -found))


@quiet
def cos(x: Array | float) -> Array:
    """The cosine."""
    turns, sine, cosine = _quarters(x)
    found = np.where(turns % 2 == 0, cosine, sine)
    return np.asarray(np.where((turns + 1) % 4 < 2, found, -found))


@quiet
def tan(x: Array | float) -> Array:
    """The tangent."""
    return np.asarray(sin(x) / cos(x))


@quiet
def power(x: Array | float, y: Array | float) -> Array:
    """x ** y: of few factors by products, of a half by a root, and else e ** (y log x)."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    size, whole = np.abs(y), np.rint(y) == y
    found = exp(y * log(np.abs(x)))
    found = np.where(np.abs(x) == 1, 1, found)
    found = np.where((x < 0) & (np.mod(y, 2) == 1), -found, found)
    found = np.where((x < 0) & ~whole, np.nan, found)
    plain = np.where(size == 0.5, np.sqrt(x), _repeated(x, np.where(whole & (size <= _FEW), size, 0).astype(np.int64)))
    return np.asarray(np.where((whole & (size <= _FEW)) | (size == 0.5), np.where(y < 0, 1 / plain, plain), found))


def _repeated(x: Array, count: Array) -> Array:
    """The product of so many x."""
    found, square = np.ones_like(x), x
    for bit in range(_FEW.bit_length()):
        found = np.where(count >> bit & 1, found * square, found)
        square = square * square
    return found


def _polynomial(factors: list[float], x: Array) -> Array:
    """Horner's rule; the factor of the highest power is first."""
    found = np.full_like(x, factors[0])
    for factor in factors[1:]:
        found = found * x + factor
    return found


def _parts(x: Array) -> tuple[Array, Array]:
    """x = mantissa * 2 ** exponent, with the mantissa around 1."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < math.sqrt(0.5)
    return np.where(low, 2 * mantissa, mantissa), (exponent - low).astype(np.float64)


def _log1p(f: Array) -> Array:
    """log(1 + f), for f from -0.3 to 1."""
    s = f / (2 + f)
    z = s * s
    return np.asarray(2 * s + 2 * s * z * _polynomial(_LOG, z))


def _at_ends(x: Array, found: Array) -> Array:
    """A logarithm, where x is not between 0 and infinity too."""
    found = np.where(x == 0, -np.inf, np.where(x < 0, np.nan, found))
    return np.asarray(np.where(np.isfinite(x) | (x < 0), found, x))


def _quarters(x: Array | float) -> tuple[Array, Array, Array]:
    """How many quarter turns an angle has, and the sine and the cosine of the rest."""
    x = np.asarray(x, np.float64)
    near = np.where(np.abs(x) <= _LARGE, x, 0)
    turns = np.rint(near / (math.pi / 2))
    rest = ((near - turns * _HALF_PI[0]) - turns * _HALF_PI[1]) - turns * _HALF_PI[2]
    for place in np.argwhere(np.isfinite(x) & (np.abs(x) > _LARGE)):
        turns[(*place,)], rest[(*place,)] = _far(float(x[(*place,)]))
    rest = np.where(np.isfinite(x), rest, np.nan)
    z = rest * rest
    return turns, _polynomial(_SIN, z) * rest, _polynomial(_COS, z)


def _far(x: float) -> tuple[int, float]:
    """The same for a large angle, in integers: quarter turns, of which the last two bits matter, and the rest."""
    bits = 1280
    top, bottom = x.as_integer_ratio()
    quarter = _half_pi(bits)
    turns = (2 * (top << bits) + bottom * quarter) // (2 * bottom * quarter)
    return turns % 4, ((top << bits) - turns * bottom * quarter) / (bottom << bits)


@cache
def _half_pi(bits: int) -> int:
    """pi / 2 in units of 2 ** -bits, by Machin's formula."""

    def arctan_of_inverse(n: int) -> int:
        total, term, k = 0, (1 << (bits + 32)) // n, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term, k = term // (n * n), k + 2
        return total

    return 2 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> 32
