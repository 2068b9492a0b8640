"""States in memory of ours that ONNX Runtime reads and writes in place: a step copies no cache and allocates none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.carrier import Axes, Carrier, HeldRow, gathered, longest
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.feeds import initial
from lamina.runtime.manifest import Manifest
from lamina.runtime.rooms import Rooms

_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
_CPU = ("cpu", 0)


@final
class OrtCarrier(Carrier):
    """One binding of a session on the CPU. A state with room is one buffer, past and present; the others take turns between two."""

    def __init__(
        self, session: Any, manifest: Manifest, rooms: Rooms, errors: tuple[type[Exception], ...], beside: Mapping[str, Array]
    ) -> None:
        self._session, self._manifest, self._rooms, self._errors = session, manifest, rooms, errors
        self._binding = session.io_binding()
        self._past: dict[str, Array] = {}
        self._spare: dict[str, Array] = {}
        self._filled: dict[str, int] = {}
        self._bound: dict[str, Array] = {}  # what the binding points to, which must outlive it
        carried = {state.present for state in manifest.states}
        self._outputs = {spec.name: spec for spec in manifest.outputs if spec.name not in carried}
        for name, array in beside.items():  # the same in every call
            self._bind(self._binding.bind_input, name, array)
        self._beside = beside
        self._presents = {spec.name: spec for spec in manifest.outputs if spec.name in carried}

    def run(self, feeds: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
        self._begin(sizes)
        lengths = {name: np.array([sizes[dim]]) for dim, name in self._rooms.lengths.items()}
        for name, array in (*feeds.items(), *lengths.items()):
            self._bind(self._binding.bind_input, name, array)
        needed = {dim: self._rooms.needed(dim, sizes) for dim in self._rooms.lengths}
        self._bind_states(sizes, needed)
        outputs = {name: np.empty(_shape(spec.shape, sizes), numpy_dtype(spec.dtype)) for name, spec in self._outputs.items()}
        for name, array in outputs.items():
            self._bind(self._binding.bind_output, name, array)
        try:
            self._session.run_with_iobinding(self._binding)
        except self._errors as error:
            raise InputError(f"ONNX Runtime cannot run these inputs: {error}") from error
        for name, array in self._spare.items():
            self._spare[name], self._past[name] = self._past[name], array
        self._filled = needed
        return outputs

    def _begin(self, sizes: Mapping[str, int]) -> None:
        """The states' initial values, before the first call."""
        if self._past:
            return
        self._past = {state.past: initial(self._manifest, state, sizes) for state in self._manifest.states}
        self._spare = {name: array for name, array in self._past.items() if name not in self._rooms.axes}

    def _bind_states(self, sizes: Mapping[str, int], needed: Mapping[str, int]) -> None:
        for state in self._manifest.states:
            if state.past in self._rooms.axes:
                dim, _ = self._rooms.axes[state.past]
                self._make_room(state.past, state.present, sizes[dim], needed[dim])
                continue
            shape = _shape(self._presents[state.present].shape, sizes)
            if self._spare[state.past] is self._past[state.past] or self._spare[state.past].shape != shape:
                self._spare[state.past] = np.empty(shape, self._past[state.past].dtype)
            self._bind(self._binding.bind_input, state.past, self._past[state.past])
            self._bind(self._binding.bind_output, state.present, self._spare[state.past])

    def _make_room(self, past: str, present: str, filled: int, needed: int) -> None:
        """A larger buffer, with what the old one holds, where a call would not fit; bound where it is new."""
        (_, axis), old = self._rooms.axes[past], self._past[past]
        if old.shape[axis] >= needed and past in self._bound:
            return
        if old.shape[axis] < needed:
            self._past[past] = _copied(old, axis, filled, self._rooms.grown(needed))
        self._bind(self._binding.bind_input, past, self._past[past])
        self._bind(self._binding.bind_output, present, self._past[past])

    def _bind(self, bind: Any, name: str, array: Array) -> None:
        kind = _BFLOAT16 if array.dtype == numpy_dtype("bfloat16") else array.dtype
        bind(name, *_CPU, kind, array.shape, array.ctypes.data)
        self._bound[name] = array

    def reorder(self, axes: Mapping[str, int], rows: Sequence[int]) -> None:
        for name, array in self._past.items():
            if name not in self._rooms.axes:
                self._past[name] = np.take(array, rows, axis=axes[name])
                continue
            dim, axis = self._rooms.axes[name]
            filled = np.take(_part(array, axis, self._filled[dim]), rows, axis=axes[name])
            self._past[name] = _copied(filled, axis, self._filled[dim], array.shape[axis])
        self._bound.clear()

    def gather(self, axes: Mapping[str, Axes], rows: Sequence[HeldRow]) -> None:
        filled = longest(rows)
        room = self._rooms.grown(filled + 1)
        self._past = {name: gathered(name, axes[name], rows, room if name in self._rooms.axes else filled) for name in axes}
        self._spare = {name: array for name, array in self._past.items() if name not in self._rooms.axes}
        self._filled = dict.fromkeys(self._rooms.lengths, filled)
        self._bound.clear()

    def held(self) -> dict[str, Array]:
        return {name: self._part_filled(name, array) for name, array in self._past.items()}

    def past(self) -> dict[str, Array]:
        return {name: array.copy() for name, array in self.held().items()}

    def _part_filled(self, name: str, array: Array) -> Array:
        dim, axis = self._rooms.axes.get(name, ("", 0))
        return _part(array, axis, self._filled[dim]) if dim else array


def _shape(sizes: Sequence[int | str], dims: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(shapes.evaluate(size, dims) for size in sizes)


def _part(array: Array, axis: int, size: int) -> Array:
    return array[(slice(None),) * axis + (slice(size),)]


def _copied(array: Array, axis: int, filled: int, room: int) -> Array:
    """A buffer of zeros with room for so many rows, which begins with those that are filled."""
    shape = list(array.shape)
    shape[axis] = room
    made = np.zeros(shape, array.dtype)
    _part(made, axis, filled)[...] = _part(array, axis, filled)
    return made
