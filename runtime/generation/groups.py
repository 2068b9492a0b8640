"""A group of beams of one prompt: how it goes on, which texts it keeps, and when no beam of it can better them.

All as in transformers: for a single group version 5's beam search, for several version 4's group beam search, the last that had it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.search import Ends, Finish


@final
@dataclass(frozen=True, slots=True)
class Beam:
    """A text so far, its score, its log-probability to the model alone, and the decoder's row that has read all but its last token."""

    ids: tuple[int, ...]
    score: float
    logprob: float
    row: int

    def at(self, row: int) -> Beam:
        """The same, whose row is another."""
        return Beam(self.ids, self.score, self.logprob, row)


@final
@dataclass(frozen=True, slots=True)
class Ended:
    """A text that counts, with its score for its length."""

    score: float
    beam: Beam
    finish: Finish


@final
class Group:
    """Starts from one row of the decoder, which has read the prompt."""

    def __init__(self, row: int, options: Generation, ends: Ends) -> None:
        self._options, self._ends = options, ends
        self._width, self._diverse = options.beams // options.beam_groups, options.beam_groups > 1
        self.running = [Beam((), 0.0, 0.0, row)]
        self.ended: list[Ended] = []
        self.done = False

    def advance(self, scores: Array, logprobs: Array) -> None:
        """Choose among what may follow each beam, by its score and by what the model gives it: float32[beams, vocabulary] both."""
        found = [(beam, self._ends.of(beam.ids)) for beam in self._candidates(scores, logprobs)]
        going = (None, self._ends.full)
        self.running = [beam for beam, finish in found if finish in going][: self._width]
        # An end counts only among the best; what is behind them stands by for the beams that have ended.
        for beam, finish in found[: self._width]:
            if finish is not None and finish not in going:
                self._keep(beam, finish)
        # Version 5 of transformers looks at the best that goes on; group beam search, in version 4, at the best of all.
        best = found[0][0] if self._diverse else next(iter(self.running), None)
        self.done = best is None or not self.running or self._settled(best)
        if len(found[0][0].ids) == self._ends.most:
            self._close()

    def _candidates(self, scores: Array, logprobs: Array) -> list[Beam]:
        """The best continuations, best first: so many that enough go on even if every end is among them."""
        totals = (scores + np.array([[beam.score] for beam in self.running], np.float32)).ravel()
        most = min(max(2, 1 + len(self._ends.eos)) * self._width, len(totals))
        top = np.argpartition(totals, -most)[-most:]
        top = top[np.lexsort((top, -totals[top]))]
        found = []
        for index in top[np.isfinite(totals[top])].tolist():
            parent, token = divmod(index, scores.shape[1])
            beam = self.running[parent]
            found.append(Beam((*beam.ids, token), float(totals[index]), beam.logprob + float(logprobs[parent, token]), beam.row))
        return found

    def _keep(self, beam: Beam, finish: Finish) -> None:
        """Among the best `width`, by the score over a power of the length."""
        score = beam.score / math.pow(len(beam.ids), self._options.length_penalty)
        self.ended = sorted([*self.ended, Ended(score, beam, finish)], key=lambda ended: -ended.score)[: self._width]

    def _settled(self, best: Beam) -> bool:
        """Whether there are enough texts, and nothing that begins as `best` is expected to be better than the worst of them."""
        if len(self.ended) < self._width:
            return False
        if self._options.early_stopping is True:
            return True
        power = self._options.length_penalty
        length = self._ends.most if self._options.early_stopping == "never" and power > 0 else len(best.ids)
        return self.ended[-1].score >= best.score / math.pow(length, power)

    def _close(self) -> None:
        """No token may follow: the beams that would go on are texts too. Where `early_stopping` has its texts, version 4 takes no more."""
        if not (self._diverse and self.done):
            for beam in self.running:
                self._keep(beam, self._ends.full)
        self.done = True
