"""Beam search, and diverse beam search (arXiv 1610.02424): beams in groups, kept apart by what a token costs those that choose it later.

Scores are sums of log-probabilities, after the diversity and the options' rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.generation import logits as rules
from lamina.runtime.generation.groups import Beam, Group
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.prompts import History, Prompts
from lamina.runtime.generation.search import Ends, Pick, changed, checked, nothing_left
from lamina.runtime.generation.steps import Steps


def beam_search(steps: Steps, prompts: Prompts, options: Generation, ends: Ends) -> Iterator[list[Pick]]:
    """Yields, for each step, the best texts of the prompts whose search has ended with it, best first."""
    search = _Search(steps, prompts, options, ends)
    while search.open:
        search.advance()
        yield [pick for prompt in search.over() for pick in _best(prompt, search.open.pop(prompt), options.num_return)]
        if search.open:
            search.step()


@final
class _Search:
    """The groups of every prompt whose search has not ended, over one decoder that holds the beams of all."""

    def __init__(self, steps: Steps, prompts: Prompts, options: Generation, ends: Ends) -> None:
        self._steps, self._options, self._ends, self._history = steps, options, ends, History(prompts)
        self._logits, self._made = steps.start(prompts.ids, prompts.mask), 0
        self.open = {row: [Group(row, options, ends) for _ in range(options.beam_groups)] for row in range(len(prompts.ids))}

    def advance(self) -> None:
        """Let every group choose; those of one prompt after each other."""
        logprobs = rules.log_softmax(checked(self._logits, self._made))
        for groups in self.open.values():
            counts = np.zeros(logprobs.shape[1], np.float32)  # of each token, how often groups before have chosen it at this step
            for group in groups:
                if not group.done:
                    self._advance(group, logprobs, counts)
                    np.add.at(counts, [beam.ids[-1] for beam in group.running], 1)
        self._made += 1

    def _advance(self, group: Group, logprobs: Array, counts: Array) -> None:
        rows = [beam.row for beam in group.running]
        scores = logprobs[rows] - np.float32(self._options.diversity) * counts if self._options.diversity else logprobs[rows]
        scores = changed(scores, self._options, self._ends.eos, self._made, self._history, rows)
        if np.isneginf(scores).all():
            raise nothing_left(self._made)
        group.advance(scores, logprobs[rows])

    def over(self) -> list[int]:
        """The prompts whose search has ended."""
        return [prompt for prompt, groups in self.open.items() if all(group.done for group in groups)]

    def step(self) -> None:
        """Read the last token of every beam that goes on, in the row that its group then finds it in."""
        beams: list[Beam] = []
        for group in (group for groups in self.open.values() for group in groups if not group.done):
            first = len(beams)
            beams += group.running
            group.running = [beam.at(first + offset) for offset, beam in enumerate(group.running)]
        order = [beam.row for beam in beams]
        if order != list(range(len(self._logits))):  # beams that each go on from themselves leave the memory as it is
            self._steps.reorder(order)
            self._history.reorder(order)
        ids = np.array([beam.ids[-1] for beam in beams], np.int64)
        self._history.append(ids)
        self._logits = self._steps.step(ids)


def _best(prompt: int, groups: Sequence[Group], most: int) -> list[Pick]:
    found = sorted((ended for group in groups for ended in group.ended), key=lambda ended: -ended.score)
    return [Pick(prompt, sample, e.beam.ids, e.beam.logprob, e.finish) for sample, e in enumerate(found[:most])]
