"""Prompts as one batch, and what every row has read since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError


@final
@dataclass(frozen=True, slots=True)
class Prompts:
    """Token ids int64[N, T], padded on the left where the mask (int64[N, T]) is 0."""

    ids: Array
    mask: Array

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], room: int) -> Prompts:
        """InputError as `check`."""
        check(prompts, room)
        longest = max(map(len, prompts))
        ids, mask = np.zeros((2, len(prompts), longest), np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = prompt
            mask[row, longest - len(prompt) :] = 1
        return cls(ids, mask)


def check(prompts: Sequence[Sequence[int]], room: int) -> None:
    """InputError for no prompt, an empty one, one longer than the room, and ids that are none."""
    if not prompts:
        raise InputError("there is no prompt")
    for index, prompt in enumerate(prompts):
        _check(index, prompt, room)


def _check(index: int, prompt: Sequence[int], room: int) -> None:
    if not isinstance(prompt, Sequence | np.ndarray):
        raise InputError(f"prompt {index} is {prompt!r}, and must be a text or a list of token ids")
    if not len(prompt):
        raise InputError(f"prompt {index} is empty: it has no token to go on from")
    if len(prompt) > room:
        raise InputError(f"prompt {index} has {len(prompt)} tokens, and the model has room for {room}")
    for token in prompt:
        if not (isinstance(token, int | np.integer) and not isinstance(token, bool) and 0 <= token < 2**31):
            raise InputError(f"prompt {index} holds {token!r}, which is not a token id")


@final
class History:
    """What each row has read: its prompt, and what was chosen since."""

    def __init__(self, prompts: Prompts) -> None:
        self._ids, self._length = prompts.ids, prompts.ids.shape[1]
        self._starts = self._length - prompts.mask.sum(1)

    def append(self, ids: Array) -> None:
        """One more token of each row, int64[N]."""
        if self._length == self._ids.shape[1]:
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)], axis=1)
        self._ids[:, self._length] = ids
        self._length += 1

    def reorder(self, rows: Sequence[int]) -> None:
        """As `Steps.reorder`."""
        self._ids, self._starts = self._ids[list(rows)], self._starts[list(rows)]

    def rows(self, rows: Sequence[int]) -> list[Array]:
        """The tokens of these rows, without padding: int64[length] each."""
        return [self._ids[row, self._starts[row] : self._length] for row in rows]
