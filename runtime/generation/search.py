"""What searches share: what they yield, what ends a row, and how options change scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.generation import logits as rules
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.prompts import History

Finish = Literal["eos", "stop", "length", "room"]


@final
@dataclass(frozen=True, slots=True)
class Pick:
    """Tokens that text `sample` of a prompt goes on with, how likely they are to the model alone, and, with the last, why it ends."""

    prompt: int
    sample: int
    ids: tuple[int, ...]
    logprob: float
    finish: Finish | None


@final
@dataclass(frozen=True, slots=True)
class Ends:
    """What ends a text: a token, what it says (`stopped`, of all its tokens), or its number of tokens, for the reason `full`."""

    eos: frozenset[int]
    stopped: Callable[[Sequence[int]], bool] | None
    most: int
    full: Finish

    def of(self, ids: Sequence[int]) -> Finish | None:
        """Why a text with these tokens ends with the last of them, or None."""
        if ids[-1] in self.eos:
            return "eos"
        if self.stopped is not None and self.stopped(ids):
            return "stop"
        return self.full if len(ids) >= self.most else None


def checked(logits: Array, made: int) -> Array:
    """Logits [rows, vocabulary] that can be chosen from. BundleError where a row has NaN, +inf, or nothing finite."""
    if not np.isfinite(logits.max(-1)).all():
        row = int(np.argmin(np.isfinite(logits.max(-1))))
        raise BundleError(
            f"after {made} new tokens the model gives logits that are not finite (row {row}): are there NaN or infinity among its weights?"
        )
    return logits


def changed(scores: Array, options: Generation, eos: frozenset[int], made: int, history: History, rows: Sequence[int]) -> Array:
    """Scores [len(rows), vocabulary] after the rules that go with every search, in transformers' order."""
    if options.repetition_penalty != 1:
        scores = rules.repetition_penalty(scores, options.repetition_penalty, history.rows(rows))
    if options.no_repeat_ngram_size:
        scores = rules.no_repeat_ngram(scores, options.no_repeat_ngram_size, history.rows(rows))
    if made < options.min_new_tokens:
        scores = rules.suppress(scores, [token for token in eos if token < scores.shape[-1]])
    if options.suppress_tokens:
        scores = rules.suppress(scores, _within(options.suppress_tokens, scores.shape[-1]))
    return scores


def nothing_left(made: int) -> InputError:
    """What to say where the options rule out every token."""
    return InputError(f"after {made} new tokens the options rule out every token: suppress fewer, or let n-grams repeat")


def narrowed(scores: Array, options: Generation) -> Array:
    """Scores [rows, vocabulary] after the rules that go with drawing, in transformers' order."""
    scores = rules.temperature(scores, options.temperature)
    if options.top_k is not None:
        scores = rules.top_k(scores, options.top_k)
    if options.top_p is not None:
        scores = rules.top_p(scores, options.top_p)
    if options.min_p is not None:
        scores = rules.min_p(scores, options.min_p)
    if options.typical_p is not None:
        scores = rules.typical_p(scores, options.typical_p)
    return scores


def _within(tokens: Sequence[int], vocabulary: int) -> Sequence[int]:
    if max(tokens) >= vocabulary:
        raise InputError(f"`suppress_tokens` holds {max(tokens)}, and the model's tokens are 0 to {vocabulary - 1}")
    return tokens
