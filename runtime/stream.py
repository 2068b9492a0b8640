"""A stream of calls, each of which finds what the one before it left."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, final

from lamina.runtime import shapes
from lamina.runtime.carrier import Axes, Carrier, HeldRow
from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError
from lamina.runtime.feeds import checked_inputs, first_sizes
from lamina.runtime.manifest import Manifest, State


@final
class Stream:
    """Calls of a session one after the other, each of which finds the states that the one before it left."""

    def __init__(self, manifest: Manifest, carrier: Carrier) -> None:
        self._manifest, self._carrier = manifest, carrier
        self._sizes, self._after = first_sizes(manifest, ()), _sizes_after(manifest)
        self._begun = False

    def __call__(self, /, **inputs: Any) -> dict[str, Array]:
        """The outputs for these inputs, without the states. InputError where they are not as declared, or no room is left."""
        for name, size in self._sizes.items():
            if size not in self._manifest.dims[name]:
                raise InputError(f"{name} is {size} after the calls so far, and must be {self._manifest.dims[name]}: begin another stream")
        feeds, sizes = checked_inputs(self._manifest, inputs, self._sizes)
        outputs = self._carrier.run(feeds, sizes)
        self._sizes = {dim: shapes.evaluate(size, sizes) for dim, size in self._after.items()}
        self._begun = True
        return outputs

    def reorder(self, rows: Sequence[int]) -> None:
        """Let row i of the next call go on from what row rows[i] has seen. InputError where a state has no rows of its own."""
        if not self._begun:
            return
        batch = _batch(self._manifest)
        axes = {state.past: _axis(self._manifest, state, batch) for state in self._manifest.states}
        self._carrier.reorder(axes, rows)
        self._sizes[batch] = len(rows)

    def gather(self, rows: Sequence[tuple[Stream, int, int]]) -> None:
        """Let row i of the next call go on from what `rows[i]` has seen: a stream of this model, its row, and how much of it counts.

        What grows is as long as the longest of them; the others are their newest places, behind zeros, which a mask must hide.
        InputError where a state has no rows of its own.
        """
        batch, grows = _batch(self._manifest), growing(self._manifest)
        states = {state.past: state for state in self._manifest.states}
        axes = {name: Axes(_axis(self._manifest, one, batch), _grown(self._manifest, one, grows)) for name, one in states.items()}
        held = {stream: stream._carrier.held() for stream, *_ in rows}
        self._carrier.gather(axes, [HeldRow(held[stream], row, length) for stream, row, length in rows])
        self._sizes = {**rows[0][0]._sizes, batch: len(rows), **dict.fromkeys(grows, max(length for *_, length in rows))}
        self._begun = True

    @property
    def sizes(self) -> Mapping[str, int]:
        """The dims that the states show, such as how much has been seen."""
        return self._sizes

    @property
    def past(self) -> Mapping[str, Array]:
        """The states as the last call left them, by the name of their input; empty before the first."""
        return self._carrier.past()


def _sizes_after(manifest: Manifest) -> dict[str, int | str]:
    """The dims that the states show, and what they are when a call has ended."""
    outputs = {spec.name: spec for spec in manifest.outputs}
    found: dict[str, int | str] = {}
    for state in manifest.states:
        for before, after in zip(manifest.input(state.past).shape, outputs[state.present].shape, strict=True):
            if isinstance(before, str) and before in manifest.dims:
                found[before] = after
    return found


def growing(manifest: Manifest) -> dict[str, int | str]:
    """The dims that grow with what is seen, and what they are after a call."""
    return {before: after for before, after in _sizes_after(manifest).items() if before != after}


def _grown(manifest: Manifest, state: State, dims: Collection[str]) -> int | None:
    return next((axis for axis, size in enumerate(manifest.input(state.past).shape) if size in dims), None)


def _batch(manifest: Manifest) -> str:
    """The dim that counts the rows of a batch: the first of the first input."""
    shape = manifest.inputs[0].shape
    if not shape or shape[0] not in manifest.dims:
        raise InputError(f"`{manifest.inputs[0].name}: {manifest.inputs[0]}` has no dynamic first axis, so there are no rows to reorder")
    return str(shape[0])


def _axis(manifest: Manifest, state: State, batch: str) -> int:
    spec = manifest.input(state.past)
    if batch not in spec.shape:
        raise InputError(f"the state `{state.name}: {spec}` has no axis {batch}, so its rows cannot be told apart")
    return spec.shape.index(batch)
