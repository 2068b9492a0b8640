"""Who holds the states of a model between calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
    def past(self) -> dict[str, Array]:
        """The states by the names of their inputs, as the last call left them; empty before the first."""


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

    def past(self) -> dict[str, Array]:
        return dict(self._past)
