"""Greedy decoding and sampling: each row goes on by itself, one token after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import final

import numpy as np

from lamina.runtime.generation.choose import choose, draws, seed_of
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.prompts import History, Prompts
from lamina.runtime.generation.search import Ends, Finish, Pick
from lamina.runtime.generation.steps import Steps


def one_by_one(steps: Steps, prompts: Prompts, options: Generation, ends: Ends) -> Iterator[list[Pick]]:
    """Yields, for each step, one token of every row that has not ended."""
    batch = _Batch(steps, prompts, options)
    for made in count():
        live = batch.live()
        rows = [batch.rows[index] for index in live]
        logits = batch.logits if len(live) == len(batch.rows) else batch.logits[live]
        chosen, logprobs = choose(logits, options, ends.eos, made, batch.history, live, [row.random for row in rows])
        yield [_picked(*one, ends) for one in zip(rows, chosen.tolist(), logprobs.tolist(), strict=True)]
        if not batch.live():
            return
        batch.step()


@final
@dataclass(slots=True)
class _Row:
    prompt: int
    sample: int
    random: np.random.Generator
    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None


@final
class _Batch:
    """The rows that the decoder holds. Those that have ended are among them until dropping them pays."""

    def __init__(self, steps: Steps, prompts: Prompts, options: Generation) -> None:
        self._steps, self.history = steps, History(prompts)
        self.logits = steps.start(prompts.ids, prompts.mask)
        self.rows = _rows(len(prompts.ids), options)
        if options.num_return > 1:
            order = [row.prompt for row in self.rows]
            self._reorder(order)
            self.logits = self.logits[order]

    def live(self) -> list[int]:
        """The rows that have not ended."""
        return [index for index, row in enumerate(self.rows) if row.finish is None]

    def step(self) -> None:
        """Read every row's last token."""
        live = self.live()
        if 2 * len(live) <= len(self.rows):  # the others' memory is copied once, and every later step takes half as long
            self._reorder(live)
            self.rows = [self.rows[index] for index in live]
        ids = np.array([row.ids[-1] for row in self.rows], np.int64)
        self.history.append(ids)
        self.logits = self._steps.step(ids)

    def _reorder(self, rows: Sequence[int]) -> None:
        self._steps.reorder(rows)
        self.history.reorder(rows)


def _rows(prompts: int, options: Generation) -> list[_Row]:
    """Rows in order."""
    seed = seed_of(options)
    return [_Row(prompt, sample, draws(seed, sample)) for prompt in range(prompts) for sample in range(options.num_return)]


def _picked(row: _Row, token: int, logprob: float, ends: Ends) -> Pick:
    row.ids.append(token)
    row.finish = ends.of(row.ids)
    return Pick(row.prompt, row.sample, (token,), logprob, row.finish)
