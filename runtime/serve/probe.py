"""Whether rows that are joined to one call change each other, found by trying: a manifest cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError
from lamina.runtime.manifest import Manifest
from lamina.runtime.samples import sample_inputs
from lamina.runtime.serve.joining import Joining
from lamina.runtime.session import Session

_SHORT, _LONG = 8, 12
_ERROR = 1e-2  # of the largest value: above what rounding to float16 changes, below what a row does that reads its neighbour


def probed(session: Session, joining: Joining) -> Joining | None:
    """The joining as far as two calls on random inputs bear it out: whole, without padding, or None."""
    if _holds(session, joining):
        return joining
    if joining.padding is not None and _holds(session, without := replace(joining, padding=None)):
        return without
    return None


def _holds(session: Session, joining: Joining) -> bool:
    lengths = (_SHORT, _SHORT if joining.padding is None else _LONG)
    try:
        calls = [_inputs(session.manifest, joining.dim, length, seed) for seed, length in enumerate(lengths)]
        together = joining.split(session.run(joining.join(calls)), calls)
        return all(_same(session.run(call), part) for call, part in zip(calls, together, strict=True))
    except InputError:  # random numbers are not what this model takes
        return False


def _inputs(manifest: Manifest, batch: str, length: int, seed: int) -> dict[str, Array]:
    """Random inputs, as few rows as there may be, and every other dim as near to `length` as it may be."""
    sizes = {}
    for name, extent in manifest.dims.items():
        wanted = extent.min if name == batch else max(extent.min, min(length, extent.max))
        wanted = -(-wanted // extent.multiple_of) * extent.multiple_of
        sizes[name] = wanted if wanted in extent else extent.typical
    found = sample_inputs(manifest, manifest.fitting(sizes), seed)
    return {name: array for name, array in found.items() if name not in manifest.supplied}


def _same(alone: Mapping[str, Array], joined: Mapping[str, Array]) -> bool:
    return all(_close(array, joined[name]) for name, array in alone.items())


def _close(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype.kind in "biu":
        return np.array_equal(one, other)
    a, b = one.astype(np.float64), other.astype(np.float64)
    largest = float(np.abs(a[np.isfinite(a)]).max(initial=0))
    return np.allclose(a, b, rtol=0, atol=_ERROR * largest, equal_nan=True)
