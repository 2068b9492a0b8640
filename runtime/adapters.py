"""The adapters of a bundle: matrices that are fed beside its inputs, chosen by name, or mixed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import final

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.manifest import Adapter, Input, Manifest
from lamina.schema.carried import RANK
from lamina.schema.diagnostics import did_you_mean

Choice = str | Mapping[str, float] | None
_KEPT = 16  # mixtures that are not made again


@final
class Adapters:
    """What is fed for a choice: an adapter's name, several with a weight each, or None for the model by itself."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._inputs = [spec for spec in manifest.inputs if spec.is_adapter]
        self._known = {adapter.name: adapter for adapter in manifest.adapters}
        self._read: dict[str, dict[str, Array]] = {}
        self._mixed: OrderedDict[tuple[tuple[str, float], ...], dict[str, Array]] = OrderedDict()
        self._none = {spec.name: np.zeros(_shape(spec, 1), numpy_dtype(spec.dtype)) for spec in self._inputs}

    def feeds(self, choice: Choice) -> Mapping[str, Array]:
        """Arrays by input; the same ones for the same choice. InputError for a name that the bundle has not."""
        if choice is None:
            return self._none
        if isinstance(choice, str):
            return self._one(choice)
        parts = tuple(sorted((name, float(weight)) for name, weight in choice.items()))
        if not all(np.isfinite(weight) for _, weight in parts):
            raise InputError(f"an adapter's weight must be a finite number, but they are {dict(parts)}")
        if parts not in self._mixed:
            self._mixed[parts] = self._mixture(parts)
            if len(self._mixed) > _KEPT:
                self._mixed.popitem(last=False)
        self._mixed.move_to_end(parts)
        return self._mixed[parts]

    def _mixture(self, parts: tuple[tuple[str, float], ...]) -> dict[str, Array]:
        """Side by side, so that ranks add up; each adapter's second matrix times its weight."""
        found = [(self._one(name), weight) for name, weight in parts]
        if not found:
            return self._none
        total = sum(self._known[name].rank for name, _ in parts)
        if total not in self._manifest.dims[RANK]:
            raise InputError(f"these adapters have rank {total} together, and it must be {self._manifest.dims[RANK]}")
        return {
            spec.name: np.concatenate([_weighted(spec, arrays[spec.name], weight) for arrays, weight in found], spec.shape.index(RANK))
            for spec in self._inputs
        }

    def _one(self, name: str) -> dict[str, Array]:
        if name not in self._known:
            hint = did_you_mean(name, self._known)
            held = f"the adapters are {', '.join(self._known)}" if self._known else "the bundle holds none"
            raise InputError(f"`{name}` is not an adapter; {held}" + (f"; {hint}" if hint else ""))
        if name not in self._read:
            self._read[name] = self._load(self._known[name])
        return self._read[name]

    def _load(self, adapter: Adapter) -> dict[str, Array]:
        """The arrays stand one after the other, in the order of the inputs. BundleError where the file does not hold just these."""
        data = np.memmap(self._folder / adapter.file, np.uint8, "r").view(np.ndarray)  # read when it is first used
        found, start = {}, 0
        for spec in self._inputs:
            shape, dtype = _shape(spec, adapter.rank), numpy_dtype(spec.dtype)
            size = int(np.prod(shape)) * dtype.itemsize
            if start + size > data.size:
                break
            found[spec.name] = data[start : start + size].view(dtype).reshape(shape)
            start += size
        if len(found) != len(self._inputs) or start != data.size:
            raise BundleError(
                f"{adapter.file} has {data.size} bytes, which are not the matrices of rank {adapter.rank} that the manifest declares"
            )
        return found


def _shape(spec: Input, rank: int) -> tuple[int, ...]:
    return tuple(shapes.evaluate(size, {RANK: rank}) for size in spec.shape)


def _weighted(spec: Input, array: Array, weight: float) -> Array:
    """The second matrix of a pair, whose rows count the rank, times the adapter's weight."""
    return array if weight == 1 or spec.shape[0] != RANK else (array * weight).astype(array.dtype, copy=False)
