"""Whether the rows of a decoder may come and go between two steps, and what a row takes of memory: as far as a manifest says."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import final

from lamina.runtime import shapes
from lamina.runtime.dtypes import numpy_dtype
from lamina.runtime.generation.token_inputs import fed, listed, token_inputs
from lamina.runtime.manifest import Manifest, Tensor
from lamina.runtime.stream import growing


def unjoinable(manifest: Manifest) -> str | None:
    """What keeps the rows of a decoder from joining and leaving, in words; None where the manifest names nothing.

    That rows do not change each other is not told by a manifest.
    """
    return next(_obstacles(manifest), None)


def _obstacles(manifest: Manifest) -> Iterator[str]:
    ids, mask = token_inputs(manifest, fed(manifest))
    batch = None if ids is None else ids.shape[0]
    if ids is None or not isinstance(batch, str) or batch not in manifest.dims:
        yield "its batch has one size"
        return
    extent, grows = manifest.dims[batch], growing(manifest)
    if extent.min > 1 or extent.multiple_of > 1 or extent.max < 2:
        yield f"{batch} must be {extent}"
    if any(one.at_most is not None and batch in {name} | shapes.names(one.at_most) for name, one in manifest.dims.items()):
        yield f"the room depends on {batch}"
    if len(grows) > 1:
        yield f"{' and '.join(sorted(grows))} grow apart"
    if grows and (mask is None or mask.shape[-1] not in grows.values()):
        yield "no mask says how much of what it has read is a row's own"
    if odd := [spec for state in manifest.states if not _has_rows(spec := manifest.input(state.past), batch, grows)]:
        yield f"a state has no rows, or sizes of its own: {listed(odd)}"


def _has_rows(state: Tensor, batch: str, grows: Collection[str]) -> bool:
    others = [size for size in state.shape if size != batch]
    return len(others) == len(state.shape) - 1 and [size for size in others if isinstance(size, str)] in ([], [*grows])


@final
@dataclass(frozen=True, slots=True)
class Memory:
    """The bytes of a row's states: `fixed`, and `place` for each token that it holds."""

    fixed: int
    place: int

    @classmethod
    def of(cls, manifest: Manifest) -> Memory:
        """Of a model's states, a size that is not known counted as one."""
        grows = growing(manifest)
        found = {False: 0, True: 0}
        for state in manifest.states:
            spec = manifest.input(state.past)
            found[bool(grows.keys() & {*spec.shape})] += numpy_dtype(spec.dtype).itemsize * math.prod(
                s for s in spec.shape if isinstance(s, int)
            )
        return cls(found[False], found[True])

    def needed(self, lengths: list[int]) -> int:
        """The bytes of rows of so many tokens: all have room for the longest."""
        return len(lengths) * (self.fixed + self.place * max(lengths, default=0))
