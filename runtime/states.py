"""What a model carries from call to call: how it starts, and a stream of calls that carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.manifest import Input, Manifest, State

if TYPE_CHECKING:
    from lamina.runtime.session import Session


def first_sizes(manifest: Manifest, given: Mapping[str, Any]) -> dict[str, int]:
    """The dims that only states which are not given would show: they start as small as they may be."""
    absent = [manifest.input(state.past) for state in manifest.states if state.past not in given]
    shown = {size for spec in manifest.inputs if spec.name in given for size in spec.shape}
    alone = {size for spec in absent for size in spec.shape if isinstance(size, str) and size in manifest.dims}
    return {name: manifest.dims[name].min for name in sorted(alone - shown)}


def initial(spec: Input, state: State, sizes: Mapping[str, int]) -> Array:
    """What the first call finds of a state."""
    return np.full([shapes.evaluate(size, sizes) for size in spec.shape], state.initial, numpy_dtype(spec.dtype))


@final
class Stream:
    """Calls of a session one after the other, each of which finds the states that the one before it left."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._past: dict[str, Array] = {}

    def __call__(self, /, **inputs: Any) -> dict[str, Array]:
        """The outputs for these inputs, without the states. InputError where they are not as declared."""
        outputs = self._session.run({**inputs, **self._past})
        self._past = {state.past: outputs.pop(state.present) for state in self._session.manifest.states}
        return outputs

    def reorder(self, rows: Sequence[int]) -> None:
        """Let row i of the next call go on from what row rows[i] has seen. InputError where a state has no rows of its own."""
        batch = _batch(self._session.manifest)
        for state in self._session.manifest.states if self._past else ():
            spec = self._session.manifest.input(state.past)
            if batch not in spec.shape:
                raise InputError(f"the state `{state.name}: {spec}` has no axis {batch}, so its rows cannot be told apart")
            self._past[state.past] = np.take(self._past[state.past], rows, axis=spec.shape.index(batch))

    @property
    def past(self) -> Mapping[str, Array]:
        """The states as the last call left them, by the name of their input; empty before the first."""
        return self._past


def _batch(manifest: Manifest) -> int | str:
    """The size that counts the rows of a batch: the first of the first input."""
    shape = manifest.inputs[0].shape
    return shape[0] if shape else 1
