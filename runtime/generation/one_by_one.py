"""Greedy decoding and sampling: each row goes on by itself, one token after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.generation import logits as rules
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.prompts import History, Prompts
from lamina.runtime.generation.search import Ends, Finish, Pick, changed, checked, narrowed, nothing_left
from lamina.runtime.generation.steps import Steps


def one_by_one(steps: Steps, prompts: Prompts, options: Generation, ends: Ends) -> Iterator[list[Pick]]:
    """Yields, for each step, one token of every row that has not ended."""
    batch = _Batch(steps, prompts, options)
    for made in count():
        live = batch.live()
        rows = [batch.rows[index] for index in live]
        logits = checked(batch.logits if len(live) == len(batch.rows) else batch.logits[live], made)
        scores = changed(logits, options, ends.eos, made, batch.history, live)
        if scores is not logits and np.isneginf(scores.max(-1)).any():
            raise nothing_left(made)
        chosen = _drawn(narrowed(scores, options), rows) if options.sampled else scores.argmax(-1)
        logprobs = logits[np.arange(len(rows)), chosen] - rules.log_sum_exp(logits)
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
    """Rows in order. What is drawn follows from the seed and the sample's number, whatever else is in the batch."""
    seed = int.from_bytes(os.urandom(8), "little") if options.seed is None else options.seed
    return [
        _Row(prompt, sample, np.random.Generator(np.random.Philox(key=np.array([seed, sample], np.uint64))))
        for prompt in range(prompts)
        for sample in range(options.num_return)
    ]


def _drawn(scores: Array, rows: Sequence[_Row]) -> Array:
    """A token for each row of scores, by its own generator: where a uniform number falls among the cumulated probabilities."""
    return np.array([_draw(row, generator.random.random()) for row, generator in zip(rules.softmax(scores), rows, strict=True)])


def _draw(probabilities: Array, uniform: float) -> int:
    """The first token whose cumulated probability is above the number's share of the whole; never one of probability zero."""
    cumulated = np.cumsum(probabilities, dtype=np.float64)
    last = np.searchsorted(cumulated, cumulated[-1])
    return int(min(last, np.searchsorted(cumulated, uniform * cumulated[-1], side="right")))


def _picked(row: _Row, token: int, logprob: float, ends: Ends) -> Pick:
    row.ids.append(token)
    row.finish = ends.of(row.ids)
    return Pick(row.prompt, row.sample, (token,), logprob, row.finish)
