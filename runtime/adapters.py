"""The adapters of a bundle: matrices that are fed beside its inputs, chosen by name, or mixed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, final

import numpy as np

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
        self._matrices = [_Matrix.of(spec) for spec in manifest.inputs if spec.is_adapter]
        self._known = {adapter.name: adapter for adapter in manifest.adapters}
        self._read: dict[str, dict[str, Array]] = {}
        self._mixed: OrderedDict[tuple[tuple[str, float], ...], dict[str, Array]] = OrderedDict()
        self._mixing = Lock()
        self._none = {matrix.name: np.zeros(matrix.shape(1), matrix.dtype) for matrix in self._matrices}

    def feeds(self, choice: Choice) -> Mapping[str, Array]:
        """Arrays by input; the same ones for the same choice. InputError for a name that the bundle has not."""
        if choice is None:
            return self._none
        if isinstance(choice, str):
            return self._one(choice)
        parts = tuple(sorted((name, float(weight)) for name, weight in choice.items()))
        if not all(np.isfinite(weight) for _, weight in parts):
            raise InputError(f"an adapter's weight must be a finite number, but they are {dict(parts)}")
        with self._mixing:  # calls of several threads may each have a mixture of their own
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
            matrix.name: np.concatenate([matrix.weighted(arrays[matrix.name], weight) for arrays, weight in found], int(not matrix.second))
            for matrix in self._matrices
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
        for matrix in self._matrices:
            end = start + adapter.rank * matrix.row
            if end > data.size:
                break
            found[matrix.name] = data[start:end].view(matrix.dtype).reshape(matrix.shape(adapter.rank))
            start = end
        if len(found) != len(self._matrices) or start != data.size:
            what = f"the matrices of rank {adapter.rank} that the manifest declares"
            raise BundleError(f"{adapter.file} has {data.size} bytes, which are not {what}")
        return found


@final
@dataclass(frozen=True, slots=True)
class _Matrix:
    """An input: the first matrix of a pair, [size, rank], or the second, [rank, size]; `row` is what one rank takes of it, in bytes."""

    name: str
    dtype: np.dtype[Any]
    size: int
    row: int
    second: bool

    @staticmethod
    def of(spec: Input) -> _Matrix:
        (size,) = (size for size in spec.shape if isinstance(size, int))
        dtype = numpy_dtype(spec.dtype)
        return _Matrix(spec.name, dtype, size, size * dtype.itemsize, spec.shape[0] == RANK)

    def shape(self, rank: int) -> tuple[int, int]:
        return (rank, self.size) if self.second else (self.size, rank)

    def weighted(self, array: Array, weight: float) -> Array:
        """Times the adapter's weight: once in a pair, in the second."""
        return (array * weight).astype(array.dtype, copy=False) if self.second and weight != 1 else array
