"""A decoder that is given, with every step, what an encoder has made of the prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError
from lamina.runtime.generation.encoder import Encoder
from lamina.runtime.generation.prompts import Prompts
from lamina.runtime.generation.session_steps import steps_of
from lamina.runtime.generation.steps import Steps
from lamina.runtime.generation.token_inputs import fed, listed
from lamina.runtime.manifest import Input, Tensor
from lamina.runtime.session import Session


@final
class EncodedSteps(Steps):
    """The encoder reads the prompts, and the decoder `start` in their stead. What one has the other takes, where the names are equal.

    InputError if they do not fit together, or nothing says what to start from; BundleError if one of them is no encoder or decoder.
    """

    def __init__(self, session: Session, encoder: Session, start: Sequence[int]) -> None:
        self._encoder = Encoder(encoder)
        self._taken = _taken(session, self._encoder)
        self._decoder = steps_of(session, self._taken.keys())
        if not start:
            raise InputError("no bundle says which token a text starts from; give `start`")
        self.room, self._start, self._batch = self._decoder.room, start, self._decoder.batch
        self._about = np.empty(0, np.int64)  # of each row, the number of its prompt

    def prompts(self, tokens: Sequence[Sequence[int]]) -> Prompts:
        made = self._encoder(tokens)
        self._decoder.beside = {name: made[name] for name in self._taken}
        self._about = np.arange(len(tokens))
        return Prompts.of([self._start] * len(tokens), self.room)

    def start(self, ids: Array, mask: Array) -> Array:
        return self._decoder.start(ids, mask)

    def step(self, ids: Array) -> Array:
        return self._decoder.step(ids)

    def reorder(self, rows: Sequence[int]) -> None:
        self._decoder.reorder(rows)
        before, self._about = self._about, self._about[list(rows)]
        if np.array_equal(before, self._about):  # beams mostly change places with those of the same prompt
            return
        self._decoder.beside = {name: self._reordered(name, array, rows) for name, array in self._decoder.beside.items()}

    def _reordered(self, name: str, array: Array, rows: Sequence[int]) -> Array:
        shape = self._taken[name].shape
        return np.take(array, rows, axis=shape.index(self._batch)) if self._batch in shape else array


def _taken(session: Session, encoder: Encoder) -> Mapping[str, Input]:
    """The decoder's inputs that the encoder has under the same names; its own tokenizer's are its own."""
    inputs, how = fed(session.manifest), session.manifest.tokenizer
    own = (how.ids, how.mask) if how is not None else ()
    taken = {name: spec for name, spec in inputs.items() if name in encoder.tensors and name not in own}
    if not taken.keys() & encoder.outputs.keys():
        gives, takes = listed(encoder.outputs.values()), listed(inputs.values())
        raise InputError(f"the decoder takes nothing that the encoder gives: that is {gives}, and {session.folder} takes {takes}")
    for name, spec in taken.items():
        if not _fits(encoder.tensors[name], spec):
            raise InputError(
                f"the encoder has `{name}: {encoder.tensors[name]}` and the decoder takes `{name}: {spec}`; are they of one model?"
            )
    return taken


def _fits(had: Tensor, wanted: Input) -> bool:
    """Whether types and what is fixed of the shapes are equal."""
    sizes = list(zip(had.shape, wanted.shape, strict=False))
    fixed = all(a == b for a, b in sizes if isinstance(a, int) and isinstance(b, int))
    return had.dtype == wanted.dtype and len(had.shape) == len(wanted.shape) and fixed
