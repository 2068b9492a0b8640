"""Greedy decoding against `generate` of transformers, on tiny random networks with their caches, and what every search owes its rows."""

from __future__ import annotations

from typing import Any

import decoders
import numpy as np
import pytest
import torch
from decoders import NEW, PROMPTS, ROOM, TableSteps, TorchSteps, found, gpt2, hashed, llama, new_tokens, padded, tokens

from lamina.runtime.errors import BundleError, InputError

MODELS = [("gpt2", "a"), ("gpt2", "b"), ("llama", "a"), ("llama", "c")]


def theirs(model: Any, eos: list[int], beams: int = 1, **options: Any) -> list[list[list[int]]]:
    ids, mask = map(torch.from_numpy, padded())
    got = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, eos_token_id=eos, pad_token_id=0, num_return_sequences=beams, **options
    )
    return new_tokens(got, eos, beams)


@pytest.mark.parametrize(("name", "seed"), MODELS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.5},
        {"repetition_penalty": 0.6},
        {"no_repeat_ngram_size": 2},
        {"no_repeat_ngram_size": 1},
        {"suppress_tokens": [7, 46, 22]},
        {"min_new_tokens": 12},
        {"min_new_tokens": 5, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "suppress_tokens": [23]},
    ],
)
def test_tokens_equal_transformers(name: str, seed: str, options: dict[str, Any]) -> None:
    model, eos = getattr(decoders, name)(seed), [2, 9, 11, 30, 37]
    got = tokens(found(TorchSteps(model), max_new_tokens=25, eos=eos, **options))
    assert got == theirs(model, eos, max_new_tokens=25, **options)


def test_the_networks_are_worth_it() -> None:
    """Texts differ, do not repeat one token, and some end before others."""
    lengths = set()
    for name, seed in MODELS:
        texts = tokens(found(TorchSteps(getattr(decoders, name)(seed)), max_new_tokens=25, eos=[2, 9, 11, 30, 37]))
        lengths |= {len(text[0]) for text in texts}
        assert all(len(set(text[0])) > 0.4 * len(text[0]) for text in texts)
        assert len({tuple(text[0]) for text in texts}) == 3
    assert len(lengths) > 3


def test_logprobs_are_the_models_own() -> None:
    """Of a text as one pass over it gives them, whatever the penalty did to what was chosen."""
    model = gpt2("a")
    for prompt, (text,) in zip(PROMPTS, found(TorchSteps(model), repetition_penalty=1.7), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *text.ids]])).logits[0]
        each = logits.log_softmax(-1)[torch.arange(len(prompt) - 1, len(prompt) + NEW - 1), torch.tensor(text.ids)]
        assert text.logprob == pytest.approx(each.sum().item(), abs=1e-4)
        assert (text.finish, text.prompt_tokens) == ("length", len(prompt))


def test_rows_that_have_ended_are_dropped() -> None:
    """Each prompt's text is as alone, and the decoder computes fewer rows when half have ended."""
    prompts = [[3, n] for n in range(16)]
    steps = TorchSteps(llama("c"))
    together = tokens(found(steps, prompts, max_new_tokens=30, eos=[2, 9, 31, 13]))
    assert together == [tokens(found(TorchSteps(llama("c")), [p], max_new_tokens=30, eos=[2, 9, 31, 13]))[0] for p in prompts]
    live = [sum(len(text[0]) > step for text in together) for step in range(len(steps.rows))]
    assert steps.rows[0] == 16
    assert all(need <= held < 2 * need for need, held in zip(live, steps.rows, strict=True))
    assert min(steps.rows) < 8


def test_the_room() -> None:
    """A prompt may fill it, and then one token more is known; the padded prompt counts."""
    steps = TableSteps(hashed(10), room=6)
    assert [(len(t.ids), t.finish) for (t,) in found(steps, [[1] * 6])] == [(1, "room")]
    assert [(len(t.ids), t.finish) for (t,) in found(steps, [[1] * 4, [1, 2]])] == [(3, "room"), (3, "room")]
    assert [(len(t.ids), t.finish) for (t,) in found(steps, [[1] * 4], max_new_tokens=3)] == [(3, "length")]
    with pytest.raises(InputError, match="prompt 1 has 7 tokens, and the model has room for 6"):
        found(steps, [[1], [1] * 7])


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ([], "there is no prompt"),
        ([[1], []], "prompt 1 is empty"),
        ([1, 2], "prompt 0 is 1, and must be a text or a list of token ids"),
        ([[1, -1]], "prompt 0 holds -1, which is not a token id"),
        ([[1, 2.5]], "prompt 0 holds 2.5, which is not a token id"),
        ([[1], "a"], "prompts are all texts, or all tokens"),
        (["a"], "the bundle carries no tokenizer"),
    ],
)
def test_prompts_that_will_not_do(prompts: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        found(TableSteps(hashed(10)), prompts)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_p": 0.5}, {"beams": 2}])
def test_logits_that_are_not_finite(value: float, options: dict[str, Any]) -> None:
    def logits(read: tuple[int, ...]) -> np.ndarray:
        spoilt = hashed(10)(read)
        if len(read) == 5:
            spoilt[slice(None) if value == -np.inf else 3] = value
        return spoilt

    with pytest.raises(BundleError, match="after 3 new tokens the model gives logits that are not finite"):
        found(TableSteps(logits), [[1, 2]], **options)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"beams": 2}])
def test_options_that_rule_out_everything(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="after 2 new tokens the options rule out every token"):
        found(TableSteps(hashed(3)), [[1]], no_repeat_ngram_size=1, **options)
    with pytest.raises(InputError, match="`suppress_tokens` holds 3, and the model's tokens are 0 to 2"):
        found(TableSteps(hashed(3)), [[1]], suppress_tokens=[3], **options)


def test_room_is_what_steps_are_given() -> None:
    """A row never holds more than the room: `TorchSteps` asserts it, beams and samples included."""
    model = gpt2("a")
    for options in ({}, {"beams": 3, "num_return": 3}, {"temperature": 1.0, "num_return": 2}):
        texts = found(TorchSteps(model, room=10), max_new_tokens=ROOM, **options)
        assert {text.finish for group in texts for text in group} == {"room"}
        assert {len(text.ids) for group in texts for text in group} == {6}
