"""Beam search against `generate` of transformers, and against every text that there is."""

from __future__ import annotations

import itertools
import math
from typing import Any

import decoders
import numpy as np
import pytest
import torch
from decoders import NEW, PROMPTS, TableSteps, TorchSteps, found, gpt2, hashed, new_tokens, padded, tokens
from fill import uniform

ENDS = [2, 9, 30, 11]


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize(("beams", "name", "seed"), [(2, "gpt2", "a"), (2, "llama", "a"), (5, "gpt2", "b"), (5, "llama", "c")])
def test_tokens_equal_transformers(name: str, seed: str, early: bool | str, power: float, beams: int) -> None:
    """All beams, best first, with lengths weighed every way; and with rules that change the scores."""
    model = getattr(decoders, name)(seed)
    ids, mask = map(torch.from_numpy, padded())
    rules: tuple[dict[str, Any], ...] = ({}, {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 3})
    for options in rules:
        common = {"early_stopping": early, "length_penalty": power, "max_new_tokens": NEW} | options
        got = tokens(found(TorchSteps(model), beams=beams, num_return=beams, eos=ENDS, **common))
        theirs = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, num_beams=beams, num_return_sequences=beams, eos_token_id=ENDS,
            pad_token_id=0, **common,
        )  # fmt: skip
        assert got == new_tokens(theirs, ENDS, beams)


def everything(logits: Any, vocabulary: int, length: int, eos: int, power: float) -> list[tuple[float, tuple[int, ...]]]:
    """Every text that ends with its end or is as long as it may be, by its log-probability over a power of its length; best first."""
    scored = []
    for size in range(1, length + 1):
        for text in itertools.product(range(vocabulary), repeat=size):
            if eos in text[:-1] or (size < length and text[-1] != eos):
                continue
            logs = [torch.from_numpy(logits((1, *text[:i]))).double().log_softmax(-1)[token].item() for i, token in enumerate(text)]
            scored.append((math.fsum(logs) / size**power, text))
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("case", range(6))
def test_as_many_beams_as_texts_find_the_best(case: int, power: float) -> None:
    """A search that keeps everything finds the very best texts in their order, with their log-probabilities."""
    logits = hashed(4)
    shifted = lambda read: logits((case, *read))  # noqa: E731
    best = everything(shifted, 4, 4, 0, power)
    (got,) = found(
        TableSteps(shifted), [[1]], beams=256, num_return=20, length_penalty=power, early_stopping="never", max_new_tokens=4, eos=0
    )
    assert [text.ids for text in got] == [text for _, text in best[:20]]
    assert [text.logprob / len(text.ids) ** power for text in got] == pytest.approx([score for score, _ in best[:20]], abs=1e-5)
    assert {text.finish for text in got} <= {"eos", "length"}
    assert [text.finish == "eos" for text in got] == [text.ids[-1] == 0 for text in got]


def test_more_beams_find_likelier_texts() -> None:
    """Of fixed length, summed over many tables; and one beam is greedy."""
    totals = dict.fromkeys((1, 2, 4, 16), 0.0)
    for case, beams in itertools.product(range(20), totals):
        steps = TableSteps(lambda read, case=case: hashed(12)((case, *read)))
        totals[beams] += found(steps, [[1]], beams=beams, max_new_tokens=6)[0][0].logprob
    assert list(totals.values()) == sorted(totals.values())
    assert len(set(totals.values())) == 4


def test_prompts_do_not_depend_on_each_other() -> None:
    together = tokens(found(TorchSteps(gpt2("a")), beams=4, num_return=3, eos=ENDS))
    assert together == [tokens(found(TorchSteps(gpt2("a")), [prompt], beams=4, num_return=3, eos=ENDS))[0] for prompt in PROMPTS]


def test_beams_hold_no_more_rows_than_they_need() -> None:
    """Prompts are read once each, and those whose search has ended are let go."""
    steps = TorchSteps(gpt2("b"))
    found(steps, beams=4, eos=[2, 9, 30, 11, 37, 46], early_stopping=True)
    assert steps.rows[0] == len(PROMPTS)
    assert steps.rows[1] == 4 * len(PROMPTS)
    assert min(steps.rows[1:]) < 4 * len(PROMPTS)


def naive(logits: Any, groups: int, width: int, diversity: float, length: int) -> list[list[tuple[int, ...]]]:
    """Equation 5 of arXiv 1610.02424 by loops: each group's best texts, each scored as it was when it was chosen."""
    beams: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in range(groups)]
    for _ in range(length):
        chosen: list[int] = []
        for group in range(groups):
            continued = []
            for score, text in beams[group]:
                logs = torch.from_numpy(logits((1, *text))).double().log_softmax(-1)
                continued += [(score + logs[v].item() - diversity * chosen.count(v), (*text, v)) for v in range(len(logs))]
            beams[group] = sorted(continued, reverse=True)[:width]
            chosen += [text[-1] for _, text in beams[group]]
    return [[text for _, text in group] for group in beams]


@pytest.mark.parametrize(("groups", "width"), [(2, 2), (3, 1), (3, 2), (4, 4)])
@pytest.mark.parametrize("diversity", [0.0, 0.3, 1.0, 50.0])
def test_groups_choose_as_the_paper_says(groups: int, width: int, diversity: float) -> None:
    """Where no text ends before its length, the texts are those of the paper's equation."""
    logits = hashed(10)
    (got,) = found(
        TableSteps(logits),
        [[1]],
        beams=groups * width,
        beam_groups=groups,
        diversity=diversity,
        num_return=groups * width,
        max_new_tokens=5,
    )
    want = naive(logits, groups, width, diversity, 5)
    assert sorted(text.ids for text in got) == sorted(text for group in want for text in group)
    if diversity == 50:
        for step in range(5):
            assert len({group[0][step] for group in want}) == groups


def test_groups_without_diversity_are_copies_of_beam_search() -> None:
    """One group is beam search; as many groups as beams are greedy copies."""
    options: dict[str, Any] = {"max_new_tokens": 6}
    steps = TorchSteps(gpt2("a"))
    single = tokens(found(steps, beams=2, num_return=2, **options))
    assert tokens(found(steps, beams=2, beam_groups=1, num_return=2, **options)) == single
    for copies, alone in zip(tokens(found(steps, beams=6, beam_groups=3, num_return=6, **options)), single, strict=True):
        assert copies == [alone[0]] * 3 + [alone[1]] * 3
    greedy = tokens(found(steps, **options))
    assert tokens(found(steps, beams=4, beam_groups=4, num_return=4, **options)) == [texts * 4 for texts in greedy]


def test_diversity_makes_texts_differ() -> None:
    """There are more distinct pairs of tokens (the paper's distinct-2) than without it."""

    def distinct(diversity: float) -> float:
        texts = [
            text
            for group in tokens(found(TorchSteps(gpt2("a")), beams=6, beam_groups=3, diversity=diversity, num_return=6))
            for text in group
        ]
        pairs = [pair for text in texts for pair in itertools.pairwise(text)]
        return len(set(pairs)) / len(pairs)

    assert min(distinct(0.5), distinct(3.0)) > 2 * distinct(0.0)


def test_few_tokens() -> None:
    """A vocabulary smaller than the beams, and one where all that is left is the end."""
    steps = TableSteps(lambda read: uniform(str(read), (3,)))
    (got,) = found(steps, [[1]], beams=8, num_return=8, max_new_tokens=2, eos=0)
    assert sorted(text.ids for text in got) == [(0,), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    only = TableSteps(lambda read: np.array([0.0, -np.inf, -np.inf]))
    (got,) = found(only, [[1]], beams=4, num_return=4, eos=0)
    assert [(text.ids, text.finish, text.logprob) for text in got] == [((0,), "eos", 0.0)]
