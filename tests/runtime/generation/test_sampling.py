"""Sampling: how often tokens are drawn, that seeds hold, and that a row's draws are its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from decoders import PROMPTS, TableSteps, TorchSteps, found, gpt2, hashed, tokens
from fill import uniform

from lamina.runtime.dtypes import Array
from lamina.runtime.generation.choose import _draw

LOGITS = 2 * uniform("frequencies", (12,))


def chi_square(counts: Array, probabilities: Array) -> float:
    """The probability that counts differ from what is expected at least as much by chance (Wilson and Hilferty's normal approximation)."""
    kept = probabilities > 0
    expected = counts.sum() * probabilities[kept]
    freedom = kept.sum() - 1
    assert not counts[~kept].any()
    statistic = float((np.square(counts[kept] - expected) / expected).sum()) / freedom
    deviation = (statistic ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return 0.5 * math.erfc(deviation / math.sqrt(2))


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("kept", [12, 5])
def test_frequencies(temperature: float, kept: int) -> None:
    """8,000 draws in rows and steps, against the softmax that PyTorch gives of the logits that are left."""
    steps = TableSteps(lambda read: LOGITS)
    texts = found(steps, [[1]], temperature=temperature, top_k=kept, num_return=400, max_new_tokens=20, seed=11)
    counts = np.bincount(np.ravel(tokens(texts)), minlength=12)
    left = np.where(np.sort(LOGITS)[-kept] <= LOGITS, LOGITS, -np.inf)
    probabilities = torch.from_numpy(left / temperature).softmax(-1).numpy()
    assert counts.sum() == 8000
    assert chi_square(counts, probabilities) > 0.01
    assert kept < 12 or chi_square(counts, np.roll(probabilities, 1)) < 1e-6


def test_draws_of_samples_and_steps_are_independent() -> None:
    """Pairs of draws beside each other, in rows and in columns, are as frequent as the products of their probabilities."""
    texts = found(TableSteps(lambda read: LOGITS[:4]), [[1]], temperature=1.0, num_return=400, max_new_tokens=20, seed=3)
    drawn = np.array(tokens(texts)[0])
    probabilities = torch.from_numpy(LOGITS[:4]).softmax(-1).numpy()
    for first, second in ((drawn[:, :-1:2], drawn[:, 1::2]), (drawn[:-1:2], drawn[1::2])):
        pairs = np.bincount(np.ravel(first * 4 + second), minlength=16)
        assert chi_square(pairs, np.outer(probabilities, probabilities).ravel()) > 0.01


def test_a_seed_gives_the_same_texts() -> None:
    steps = TableSteps(hashed(50, 1.0))
    one = tokens(found(steps, [[1, 2]], temperature=1.0, num_return=3, seed=5))
    assert one == tokens(found(steps, [[1, 2]], temperature=1.0, num_return=3, seed=5))
    assert one != tokens(found(steps, [[1, 2]], temperature=1.0, num_return=3, seed=6))
    assert len({tuple(text) for text in one[0]}) == 3
    assert tokens(found(steps, [[1, 2]], temperature=1.0, seed=2**64 - 1)) != tokens(found(steps, [[1, 2]], temperature=1.0, seed=0))
    free = [tokens(found(steps, [[1, 2]], temperature=1.0)) for _ in range(2)]
    assert free[0] != free[1]


def test_draws_do_not_depend_on_the_batch() -> None:
    """Alone, beside others, as one of more samples, and after others have ended, a text is the same."""
    options = {"temperature": 1.0, "top_p": 0.9, "seed": 7, "eos": [2, 9, 11], "max_new_tokens": 15}
    together = tokens(found(TorchSteps(gpt2("a")), num_return=4, **options))
    for prompt, texts in zip(PROMPTS, together, strict=True):
        assert tokens(found(TorchSteps(gpt2("a")), [prompt], num_return=4, **options)) == [texts]
        assert tokens(found(TorchSteps(gpt2("a")), [prompt], **options)) == [texts[:1]]


def test_a_low_temperature_is_greedy() -> None:
    cold = tokens(found(TorchSteps(gpt2("b")), temperature=1e-6))
    assert cold == tokens(found(TorchSteps(gpt2("b"))))


def test_only_the_likeliest() -> None:
    assert tokens(found(TorchSteps(gpt2("b")), temperature=5.0, top_k=1)) == tokens(found(TorchSteps(gpt2("b"))))


def test_the_ends_of_the_unit_interval() -> None:
    """Numbers at its edges draw the first and the last token that may be drawn, not those of probability zero beside them."""
    probabilities = np.array([0, 0.25, 0, 0.5, 0.25, 0], np.float32)
    assert [_draw(probabilities, u) for u in (0.0, 0.25 - 1e-9, 0.25, 0.75 - 1e-9, 0.75, 1 - 2**-53)] == [1, 1, 3, 3, 4, 4]
    assert _draw(np.array([1 / 3, 1 / 3, 1 / 3, 0], np.float32), 1 - 2**-53) == 2
