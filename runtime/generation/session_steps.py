"""A bundle's decoder: a stream of its session, which carries the states."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.generation.steps import Steps
from lamina.runtime.generation.token_inputs import fed, listed, longest, token_inputs
from lamina.runtime.manifest import Input, Manifest, Tensor
from lamina.runtime.session import Session
from lamina.runtime.stream import growing
from lamina.schema.dtypes import FLOATS

_ENDLESS = 2**31 - 1


def steps_of(session: Session, given: Collection[str] = ()) -> StreamSteps:
    """The session's model as a decoder, whose inputs of these names hold what `beside` does.

    BundleError if it carries nothing from call to call, or is not one.
    """
    if not session.manifest.states:
        raise BundleError(
            f"{session.folder} carries no state from one call to the next, so no text can be generated from it token by token"
        )
    return StreamSteps(session, given)


def gathered(session: Session, rows: Sequence[tuple[StreamSteps, int]]) -> StreamSteps:
    """A decoder whose row i goes on from what a row of another of this session has read, with no more room than the longest of them needs.

    For models that `joinable` finds nothing against.
    """
    found = steps_of(session)
    found.gather(rows)
    return found


@final
class StreamSteps(Steps):
    """Reads tokens through the input that the tokenizer feeds, else the only one of integers [N, T]; a mask is fed where there is one.

    A mask of the tokens' own shape is of this call's; a longer one is of all that were read. `beside` is fed with every call.
    """

    def __init__(self, session: Session, given: Collection[str] = ()) -> None:
        self._session, manifest = session, session.manifest
        self.beside: Mapping[str, Array] = {}
        self._ids, self._mask = _inputs(session, given)
        self.batch = self._ids.shape[0]
        self._logits = _logits(manifest, str(session.folder))
        self._longest, self.below = longest(manifest, self._ids), self._ids.below
        self.room = _room(manifest)
        self._stream = session.stream()
        self._seen = np.empty((0, 0), np.int64)

    def start(self, ids: Array, mask: Array) -> Array:
        if self._mask is None and not mask.all():
            lengths = ", ".join(map(str, mask.sum(1)))
            raise InputError(f"the model takes no mask, so prompts of {lengths} tokens cannot be read together; give them one by one")
        self._stream = self._session.stream()
        self._seen = np.empty((len(ids), 0), np.int64)
        for first in range(0, ids.shape[1], self._longest):
            part = slice(first, first + self._longest)
            logits = self._read(ids[:, part], mask[:, part])
        return logits

    def step(self, ids: Array) -> Array:
        return self._read(ids[:, None], np.ones((len(ids), 1), np.int64))

    def reorder(self, rows: Sequence[int]) -> None:
        self._stream.reorder(rows)
        self._seen = self._seen[list(rows)]

    def gather(self, rows: Sequence[tuple[StreamSteps, int]]) -> None:
        """As `gathered`, in a decoder that has read nothing."""
        lengths = np.array([steps._seen[row].sum() for steps, row in rows])
        self._stream.gather([(steps._stream, row, int(length)) for (steps, row), length in zip(rows, lengths, strict=True)])
        self._seen = (np.arange(lengths.max()) >= lengths.max() - lengths[:, None]).astype(np.int64)

    @property
    def tokens(self) -> int:
        """How many tokens it knows, as far as it says; at least two."""
        vocabulary = self._logits.shape[-1]
        return self.below or (vocabulary if isinstance(vocabulary, int) else 2)

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return len(self._seen)

    @property
    def full(self) -> bool:
        """Whether no row can read on, padding included."""
        return self._seen.shape[1] >= self.room

    def _read(self, ids: Array, mask: Array) -> Array:
        """The logits after the last of these tokens."""
        feeds = {**self.beside, self._ids.name: np.ascontiguousarray(ids, self._ids.dtype)}
        if self._mask is not None:
            wanted = mask
            if self._mask.shape != self._ids.shape:
                wanted = self._seen = np.concatenate([self._seen, mask], axis=1)
            feeds[self._mask.name] = np.ascontiguousarray(wanted, self._mask.dtype)
        logits = self._stream(**feeds)[self._logits.name]
        last = logits[:, -1] if logits.ndim == 3 else logits
        return last.astype(np.float32, copy=False)


def _inputs(session: Session, given: Collection[str]) -> tuple[Input, Input | None]:
    """What takes the tokens, and what takes their mask. Nothing else may be left to feed."""
    free = {name: spec for name, spec in fed(session.manifest).items() if name not in given}
    ids, mask = token_inputs(session.manifest, free)
    error = InputError if given else BundleError
    if ids is None or len(ids.shape) != 2:
        takes = f"beside what its encoder gives, it takes {listed(free.values())}" if given else f"it takes {listed(free.values())}"
        hint = "" if given else ", or, if an encoder gives the others, generate with its bundle too"
        raise error(f"{session.folder} does not say which input takes the tokens: {takes}; declare `tokenizer` in the spec{hint}")
    if others := [spec for spec in free.values() if spec.name not in (ids.name, mask and mask.name)]:
        reason = "neither tokens nor its encoder give" if given else "tokens do not give; if an encoder does, generate with its bundle too"
        raise error(f"{session.folder} is no decoder of tokens: it takes {listed(others)}, which {reason}")
    return ids, mask


def _logits(manifest: Manifest, folder: str) -> Tensor:
    """The first output, which is scores of the vocabulary: [N, T, vocabulary], [N, 1, vocabulary] or [N, vocabulary]."""
    found = manifest.outputs[0]
    if found.dtype not in FLOATS or len(found.shape) not in (2, 3):
        raise BundleError(f"{folder} is no decoder of tokens: its first output is `{found.name}: {found}`, not the scores of a vocabulary")
    return found


def _room(manifest: Manifest) -> int:
    """How many tokens fit in the states that grow; without any there is no end."""
    return min((manifest.dims[dim].max for dim in growing(manifest)), default=_ENDLESS)
