"""Buffers with room: the states of a target that are written in place, behind what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.dtypes import Array
from lamina.runtime.manifest import Manifest
from lamina.schema.carried import LENGTH

_STEP = 64  # rows that buffers grow by at least


@final
class Rooms:
    """Which states are buffers, and along which axis of them a dim counts what is filled. The input `length.DIM` tells how much it is."""

    def __init__(self, manifest: Manifest, dims: Sequence[str]) -> None:
        self._manifest = manifest
        self.lengths = {dim: f"{LENGTH}{dim}" for dim in dims}
        self.axes = {
            state.past: (dim, manifest.input(state.past).shape.index(dim))
            for state in manifest.states
            for dim in dims
            if dim in manifest.input(state.past).shape
        }
        outputs = {spec.name: spec for spec in manifest.outputs}
        self._after = {
            dim: outputs[state.present].shape[self.axes[state.past][1]]
            for state in manifest.states
            if state.past in self.axes
            for dim in (self.axes[state.past][0],)
        }

    def needed(self, dim: str, sizes: Mapping[str, int]) -> int:
        """How much is filled after a call at these sizes."""
        return shapes.evaluate(self._after[dim], sizes)

    def grown(self, needed: int) -> int:
        """The room of new buffers: a quarter more than is needed, so that a sequence of calls copies each row a few times at most."""
        return -(-(needed + needed // 4) // _STEP) * _STEP

    def with_room(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Feeds whose states are as long as they are filled, with just the room that the call needs, and the lengths beside them."""
        if not self.lengths:
            return feeds
        sizes = self._sizes(feeds)
        widened = dict(feeds)
        for name, (dim, axis) in self.axes.items():
            widened[name] = _widened(feeds[name], axis, self.needed(dim, sizes))
        return widened | {length: np.array([sizes[dim]]) for dim, length in self.lengths.items()}

    def _sizes(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """The dims that stand alone in the shapes of the feeds."""
        pairs = ((size, got) for spec in self._manifest.inputs for size, got in zip(spec.shape, feeds[spec.name].shape, strict=True))
        return {size: got for size, got in pairs if isinstance(size, str) and size in self._manifest.dims}


def _widened(array: Array, axis: int, room: int) -> Array:
    shape = list(array.shape)
    shape[axis] = room
    wide = np.zeros(shape, array.dtype)
    wide[(slice(None),) * axis + (slice(array.shape[axis]),)] = array
    return wide
