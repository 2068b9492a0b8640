"""Who holds the states of a model between calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.feeds import initial
from lamina.runtime.manifest import Manifest

Run = Callable[[Mapping[str, Array]], dict[str, Array]]


class Carrier(ABC):
    """Runs calls one after the other, and holds the states between them."""

    @abstractmethod
    def run(self, feeds: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
        """The outputs, without the states, for checked inputs at these values of every dim that inputs and states show."""

    @abstractmethod
    def reorder(self, axes: Mapping[str, int], rows: Sequence[int]) -> None:
        """Let row i of each state, along its axis, be what row rows[i] was."""

    @abstractmethod
    def gather(self, axes: Mapping[str, Axes], rows: Sequence[HeldRow]) -> None:
        """Hold these rows, of this or other carriers, instead of what was held."""

    @abstractmethod
    def held(self) -> dict[str, Array]:
        """The states by the names of their inputs, not copied: the next call may change them. Empty before the first."""

    @abstractmethod
    def past(self) -> dict[str, Array]:
        """The states by the names of their inputs, as the last call left them; empty before the first."""


@final
@dataclass(frozen=True, slots=True)
class Axes:
    """Where a state has its rows, and where it grows with what is read, if it does."""

    rows: int
    grows: int | None


@final
@dataclass(frozen=True, slots=True)
class HeldRow:
    """A row of states that a carrier held. Along what grows, its newest `length` places count."""

    states: Mapping[str, Array]
    row: int
    length: int


@final
class ArrayCarrier(Carrier):
    """States as arrays that are handed to each call and taken from it."""

    def __init__(self, run: Run, manifest: Manifest, beside: Mapping[str, Array]) -> None:
        self._run, self._manifest, self._beside = run, manifest, beside
        self._past: dict[str, Array] = {}

    def run(self, feeds: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
        past = self._past or {state.past: initial(self._manifest, state, sizes) for state in self._manifest.states}
        given = {**self._beside, **feeds, **past}
        outputs = self._run({spec.name: given[spec.name] for spec in self._manifest.inputs})
        self._past = {state.past: outputs.pop(state.present) for state in self._manifest.states}
        return outputs

    def reorder(self, axes: Mapping[str, int], rows: Sequence[int]) -> None:
        for name, array in self._past.items():
            self._past[name] = np.take(array, rows, axis=axes[name])

    def gather(self, axes: Mapping[str, Axes], rows: Sequence[HeldRow]) -> None:
        self._past = {name: gathered(name, axes[name], rows, longest(rows)) for name in axes}

    def held(self) -> dict[str, Array]:
        return self._past

    def past(self) -> dict[str, Array]:
        return dict(self._past)


def longest(rows: Sequence[HeldRow]) -> int:
    """How many places the longest row has along what grows."""
    return max(row.length for row in rows)


def gathered(name: str, axes: Axes, rows: Sequence[HeldRow], room: int) -> Array:
    """A state with these rows. Along what grows it has `room` places, of which the first `longest` are filled; the shorter rows end there
    too, behind zeros.
    """
    arrays = [row.states[name] for row in rows]
    shape, filled = list(arrays[0].shape), longest(rows)
    shape[axes.rows] = len(rows)
    if axes.grows is not None:
        shape[axes.grows] = room
    made = np.zeros(shape, arrays[0].dtype)
    for index, (row, array) in enumerate(zip(rows, arrays, strict=True)):
        made[_places(axes, made.ndim, index, filled, row.length)] = array[_places(axes, array.ndim, row.row, _end(axes, array), row.length)]
    return made


def _end(axes: Axes, array: Array) -> int:
    return 0 if axes.grows is None else array.shape[axes.grows]


def _places(axes: Axes, rank: int, row: int, end: int, length: int) -> tuple[int | slice, ...]:
    """A row, and of what grows the last places before `end`."""
    found: list[int | slice] = [slice(None)] * rank
    found[axes.rows] = row
    if axes.grows is not None:
        found[axes.grows] = slice(end - length, end)
    return tuple(found)
