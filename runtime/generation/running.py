"""Texts that one decoder writes together: they join between two steps, and leave when they end (continuous batching)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.generation.prompts import Prompts
from lamina.runtime.generation.session_steps import StreamSteps, gathered, steps_of
from lamina.runtime.generation.texts import Piece
from lamina.runtime.generation.writing import Writing
from lamina.runtime.session import Session

Made = tuple[Writing, Piece | Exception]
Held = tuple[StreamSteps, int, Writing]


@final
class Running:
    """The texts that are being written. `together`: prompts of several lengths are read in one call.

    A model that `joinable` finds something against takes one text at a time.
    """

    def __init__(self, session: Session, together: bool) -> None:
        self._session, self._together = session, together
        self._rows: list[Writing | None] = []  # None: it has left, and its row is not yet dropped
        self._steps: StreamSteps | None = None

    @property
    def texts(self) -> list[Writing]:
        """Those that are being written."""
        return [text for text in self._rows if text is not None]

    def leave(self, gone: Collection[Writing]) -> None:
        """Let these go."""
        self._rows = [None if text in gone else text for text in self._rows]
        if not self.texts:
            self._hold([])

    def join(self, texts: Sequence[Writing]) -> list[Made]:
        """Read the prompts of new texts, and write their first tokens. An exception ends the text that it stands for."""
        samples: dict[int, list[Writing]] = {}
        for text in texts:
            samples.setdefault(id(text.prompt), []).append(text)
        groups = list(samples.values())
        return self._read(groups) if self._together else [made for group in groups for made in self._read([group])]

    def step(self) -> list[Made]:
        """Read the last token of every text, and write the next. One that ends leaves."""
        if self._steps is None:
            return []
        if 2 * len(self.texts) <= len(self._rows) or self._steps.full:  # else what is copied is more than what is saved
            self._hold(self._held())
        logits = self._steps.step(np.array([0 if text is None else text.last for text in self._rows], np.int64))
        made = [_chosen(text, logits, row) for row, text in enumerate(self._rows) if text is not None]
        self.leave({text for text, outcome in made if _ends(outcome)})
        return made

    def _read(self, groups: Sequence[Sequence[Writing]]) -> list[Made]:
        """Read the prompt of each group in one call, and let the texts join. A call that fails is made again for each prompt by itself."""
        steps = steps_of(self._session)
        batch = Prompts.of([group[0].prompt for group in groups], steps.room)
        try:
            logits = steps.start(batch.ids, batch.mask)
        except Exception as error:
            if len(groups) == 1:
                return [(text, error) for text in groups[0]]
            return [made for group in groups for made in self._read([group])]
        rows = [(row, text) for row, group in enumerate(groups) for text in group]
        made = [_chosen(text, logits, row) for row, text in rows]
        ended = {text for text, outcome in made if _ends(outcome)}
        if new := [(steps, row, text) for row, text in rows if text not in ended]:
            self._hold([*self._held(), *new])
        return made

    def _held(self) -> list[Held]:
        return [(self._steps, row, text) for row, text in enumerate(self._rows) if text is not None and self._steps is not None]

    def _hold(self, rows: Sequence[Held]) -> None:
        """Go on with these rows of decoders."""
        self._rows = [text for *_, text in rows]
        self._steps = _same_or_gathered(self._session, [(steps, row) for steps, row, _ in rows]) if rows else None


def _same_or_gathered(session: Session, rows: Sequence[tuple[StreamSteps, int]]) -> StreamSteps:
    """A decoder that has read what these rows have: the first of theirs, where these are all its rows."""
    first = rows[0][0]
    if rows == [(first, row) for row in range(first.rows)]:
        return first
    return gathered(session, rows)


def _chosen(text: Writing, logits: Array, row: int) -> Made:
    """The next token of a text, by its row of the logits."""
    try:
        return text, text.choose(logits[row : row + 1])
    except Exception as error:  # what is wrong with one text must not end the others
        return text, error


def _ends(outcome: Piece | Exception) -> bool:
    return isinstance(outcome, Exception) or outcome.whole is not None
