"""Each rule against the logits processor or warper of transformers that has its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from fill import uniform

from lamina.runtime.dtypes import Array
from lamina.runtime.generation import logits as rules
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.search import narrowed

SCORES = 8 * uniform("scores", (6, 311))
TOKENS = np.floor(12 * np.abs(uniform("tokens", (6, 40)))).astype(np.int64)  # few, so that runs of them come again


def theirs(processor: Any, scores: Array = SCORES, tokens: Array = TOKENS) -> Array:
    return processor(torch.from_numpy(tokens), torch.from_numpy(scores.copy())).numpy()


def assert_same(got: Array, want: Array) -> None:
    """The same tokens ruled out, the same probabilities of the others."""
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(want))
    np.testing.assert_allclose(rules.softmax(got), torch.from_numpy(want).softmax(-1).numpy(), atol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 50, 311, 1000])
def test_top_k(k: int) -> None:
    assert_same(rules.top_k(SCORES, k), theirs(transformers.TopKLogitsWarper(k)))


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_top_p(p: float, scale: float) -> None:
    scores = SCORES * np.float32(scale)
    assert_same(rules.top_p(scores, p), theirs(transformers.TopPLogitsWarper(p), scores))


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 1.0])
def test_min_p(p: float) -> None:
    assert_same(rules.min_p(SCORES, p), theirs(transformers.MinPLogitsWarper(p)))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_typical_p(p: float, scale: float) -> None:
    scores = SCORES * np.float32(scale)
    assert_same(rules.typical_p(scores, p), theirs(transformers.TypicalLogitsWarper(p), scores))


@pytest.mark.parametrize("value", [1e-6, 0.3, 1.7])
def test_temperature(value: float) -> None:
    assert_same(rules.temperature(SCORES, value), theirs(transformers.TemperatureLogitsWarper(value)))


@pytest.mark.parametrize("penalty", [0.7, 1.3])
def test_repetition_penalty(penalty: float) -> None:
    assert_same(rules.repetition_penalty(SCORES, penalty, list(TOKENS)), theirs(transformers.RepetitionPenaltyLogitsProcessor(penalty)))


@pytest.mark.parametrize("size", [1, 2, 3, 40, 41, 60])
def test_no_repeat_ngram(size: int) -> None:
    got = rules.no_repeat_ngram(SCORES, size, list(TOKENS))
    assert_same(got, theirs(transformers.NoRepeatNGramLogitsProcessor(size)))
    assert np.isneginf(got).any() == (size < 40)


def test_tokens_that_are_never_written() -> None:
    """The rules pass over tokens of a prompt that have no score."""
    tokens = np.where(TOKENS % 3 == 0, TOKENS + 400, TOKENS)
    for got, processor in (
        (rules.repetition_penalty(SCORES, 1.3, list(tokens)), transformers.RepetitionPenaltyLogitsProcessor(1.3)),
        (rules.no_repeat_ngram(SCORES, 2, list(tokens)), transformers.NoRepeatNGramLogitsProcessor(2)),
    ):
        assert_same(got, theirs(processor, tokens=tokens))


def test_suppress() -> None:
    assert_same(rules.suppress(SCORES, [0, 7, 310]), theirs(transformers.SuppressTokensLogitsProcessor([0, 7, 310])))


def test_what_is_ruled_out_stays_out() -> None:
    scores = rules.suppress(SCORES, range(300))
    for rule, value in ((rules.top_k, 20), (rules.top_p, 0.9), (rules.min_p, 0.5), (rules.typical_p, 0.9), (rules.temperature, 0.5)):
        got = rule(scores, value)  # type: ignore[operator]
        assert np.isneginf(got[:, :300]).all()
        assert np.isfinite(got.max(-1)).all()
        assert not np.isnan(got).any()


def test_rules_change_nothing_that_they_are_given() -> None:
    scores = SCORES.copy()
    rules.repetition_penalty(scores, 2.0, list(TOKENS))
    rules.no_repeat_ngram(scores, 2, list(TOKENS))
    rules.suppress(scores, [1])
    rules.top_k(scores, 3)
    np.testing.assert_array_equal(scores, SCORES)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.8, "top_k": 40, "top_p": 0.9},
        {"temperature": 1.5, "top_p": 0.95, "min_p": 0.1},
        {"temperature": 0.5, "top_k": 100, "min_p": 0.02, "typical_p": 0.9},
        {"temperature": 2.0},
    ],
)
def test_the_order_is_transformers(options: dict[str, Any]) -> None:
    config = transformers.GenerationConfig(do_sample=True, **({"top_k": 0} | options))
    config._eos_token_tensor = None
    processors = _processors(config)
    assert_same(narrowed(SCORES, Generation(**options)), processors(torch.from_numpy(TOKENS), torch.from_numpy(SCORES.copy())).numpy())


def _processors(config: transformers.GenerationConfig) -> Any:
    from decoders import gpt2

    return gpt2()._get_logits_processor(config, input_ids_seq_length=TOKENS.shape[1], device="cpu")
