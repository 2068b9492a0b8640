"""Products of matrices whose bits are the same on every machine, however many threads and whatever instructions compute them.

A library adds up a row's products in an order of its own. Here each matrix is cut into slices of so few digits that a product of two
slices is exact in float64, in any order; what is rounded is then only the sum of these products, in an order of ours.
(Ozaki et al., Error-free transformations of matrix multiplication, 2012.)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_DIGITS = 20  # of a slice: two of them, and those of _DEPTH, are the 53 of float64
_DEPTH = 1 << 12
_BLOCK = 1 << 22  # numbers of the result that are computed at a time


def product(a: Array, b: Array) -> Array:
    """What np.matmul gives, in the dtype of `a`."""
    if a.dtype.kind != "f":
        return np.asarray(np.matmul(a, b))
    rows, columns = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    found = _blocks(rows, columns) if np.isfinite(a).all() and np.isfinite(b).all() else _in_order(rows, columns)
    found = found[..., 0] if b.ndim == 1 else found
    return (found[..., 0, :] if b.ndim > 1 else found[..., 0]) if a.ndim == 1 else found


def _blocks(a: Array, b: Array) -> Array:
    found = np.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)
    count = 2 if a.dtype.itemsize <= 4 else 3
    right = [_slices(b[..., k : k + _DEPTH, :], -2, count) for k in range(0, b.shape[-2], _DEPTH)]
    step = max(1, _BLOCK * a.shape[-2] // max(found.size, 1))
    for row in range(0, a.shape[-2], step):
        part = a[..., row : row + step, :]
        left = (_slices(part[..., k : k + _DEPTH], -1, count) for k in range(0, a.shape[-1], _DEPTH))
        terms = (term for x, y in zip(left, right, strict=True) for term in _terms(*x, *y))
        found[..., row : row + step, :] = reduce(np.add, terms, np.zeros(()))
    return found


def _slices(x: Array, axis: int, count: int) -> tuple[list[Array], Array]:
    """Whole numbers of few digits, each _DIGITS below the one before, whose sum is x; and the exponents of the first ones' unit."""
    x = x.astype(np.float64)
    exponent = np.frexp(np.abs(x).max(axis=axis, keepdims=True, initial=0))[1]
    rest, found = np.ldexp(x, _DIGITS - exponent), []
    for _ in range(count):
        found.append(np.rint(rest))
        rest = np.ldexp(rest - found[-1], _DIGITS)
    return found, exponent - _DIGITS


def _terms(left: list[Array], above: Array, right: list[Array], beside: Array) -> Iterator[Array]:
    """The products of slices, the smallest first."""
    pairs = sorted(((i, j) for i in range(len(left)) for j in range(len(right))), key=lambda pair: (-sum(pair), pair))
    for i, j in pairs:
        yield np.ldexp(np.matmul(left[i], right[j]), above + beside - (i + j) * _DIGITS)


def _in_order(a: Array, b: Array) -> Array:
    """Of what is not finite, one product after the other."""
    wide = [x.astype(np.float64) for x in (a, b)]
    terms = (wide[0][..., :, k, None] * wide[1][..., None, k, :] for k in range(a.shape[-1]))
    return np.asarray(reduce(np.add, terms)).astype(a.dtype)
