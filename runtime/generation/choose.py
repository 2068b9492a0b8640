"""The next token of each row, by what the model gives it: the likeliest, or one that is drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.generation import logits as rules
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.prompts import History
from lamina.runtime.generation.search import changed, checked, narrowed, nothing_left


def seed_of(options: Generation) -> int:
    """The seed of the options, or a new one."""
    return int.from_bytes(os.urandom(8), "little") if options.seed is None else options.seed


def draws(seed: int, sample: int) -> np.random.Generator:
    """The numbers that choose the tokens of a sample of a prompt: they follow from these two, whatever else is in the batch."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, sample], np.uint64)))


def choose(
    logits: Array,
    options: Generation,
    eos: frozenset[int],
    made: int,
    history: History,
    rows: Sequence[int],
    randoms: Sequence[np.random.Generator],
) -> tuple[Array, Array]:
    """A token after `made` new ones for each row of logits [rows, vocabulary], and its log-probability to the model alone: [rows] both.

    `rows` are theirs in the history. BundleError: the logits are not finite. InputError: the options rule out every token.
    """
    logits = checked(logits, made)
    scores = changed(logits, options, eos, made, history, rows)
    if scores is not logits and np.isneginf(scores.max(-1)).any():
        raise nothing_left(made)
    chosen = _drawn(narrowed(scores, options), randoms) if options.sampled else scores.argmax(-1)
    return chosen, logits[np.arange(len(rows)), chosen] - rules.log_sum_exp(logits)


def _drawn(scores: Array, randoms: Sequence[np.random.Generator]) -> Array:
    """A token for each row of scores, by its own generator: where a uniform number falls among the cumulated probabilities."""
    return np.array([_draw(row, random.random()) for row, random in zip(rules.softmax(scores), randoms, strict=True)])


def _draw(probabilities: Array, uniform: float) -> int:
    """The first token whose cumulated probability is above the number's share of the whole; never one of probability zero."""
    cumulated = np.cumsum(probabilities, dtype=np.float64)
    last = np.searchsorted(cumulated, cumulated[-1])
    return int(min(last, np.searchsorted(cumulated, uniform * cumulated[-1], side="right")))
