"""Texts that are written together: each is, token by token, what it is alone, whatever joins or leaves beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from small_decoders import ROOM, WORDS, alone, decoder

import lamina
from lamina.runtime import InputError, Session
from lamina.runtime.dtypes import Array
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.running import Made, Running
from lamina.runtime.generation.session_steps import StreamSteps
from lamina.runtime.generation.texts import Generated, Piece
from lamina.runtime.generation.vocabulary import Vocabulary
from lamina.runtime.generation.writing import Writing, writings

TEXTS: list[tuple[list[int], dict[str, Any]]] = [
    ([5, 7, 9, 11, 13], {"max_new_tokens": 12}),
    ([40, 3], {"max_new_tokens": 20, "temperature": 1.5, "seed": 7}),
    ([20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30], {"max_new_tokens": 6, "temperature": 0.9, "top_k": 9, "seed": 3}),
    ([8], {"max_new_tokens": 15, "temperature": 2.0, "top_p": 0.8, "repetition_penalty": 1.4, "seed": 7}),
    ([90, 2, 33], {"max_new_tokens": 9, "repetition_penalty": 1.7}),
    ([17] * 7, {"max_new_tokens": 18, "temperature": 1.1, "min_p": 0.02, "seed": 12}),
    ([1, 2, 3, 4, 5], {"max_new_tokens": 1}),
    ([66, 5], {"max_new_tokens": 11, "no_repeat_ngram_size": 1}),
]


@pytest.fixture(scope="module", params=["attention", "recurrent"])
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session(decoder(tmp_path_factory.mktemp("running"), request.param), threads=1) as found:
        yield found


def writing(session: Session, prompt: list[int], options: Mapping[str, Any]) -> Writing:
    vocabulary = Vocabulary.of(session.folder, session.manifest)
    assert vocabulary is not None
    (found,) = writings([prompt], Generation.of(options), (), vocabulary, ROOM, WORDS)
    return found


class Log:
    """What every text got."""

    def __init__(self) -> None:
        self.ids: dict[Writing, list[int]] = {}
        self.whole: dict[Writing, Generated] = {}
        self.errors: dict[Writing, Exception] = {}

    def add(self, made: list[Made]) -> None:
        for text, outcome in made:
            if isinstance(outcome, Piece):
                self.ids.setdefault(text, []).extend(outcome.ids)
                if outcome.whole is not None:
                    self.whole[text] = outcome.whole
            else:
                self.errors[text] = outcome


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("moments", [[0] * 8, [0, 1, 1, 4, 4, 4, 9, 14], [6, 0, 0, 3, 3, 11, 0, 2]])
def test_texts_are_what_they_are_alone(session: Session, moments: list[int], together: bool) -> None:
    texts = [writing(session, *one) for one in TEXTS]
    running, log = Running(session, together), Log()
    for moment in range(40):
        if new := [text for text, when in zip(texts, moments, strict=True) if when == moment]:
            log.add(running.join(new))
        log.add(running.step())
    assert running.texts == []
    for text, (prompt, options) in zip(texts, TEXTS, strict=True):
        expected = alone(session, prompt, **options)
        assert tuple(log.ids[text]) == log.whole[text].ids == expected.ids
        assert (log.whole[text].text, log.whole[text].finish) == (expected.text, expected.finish)
        assert log.whole[text].logprob == pytest.approx(expected.logprob, abs=1e-3)


def test_the_texts_are_worth_it(session: Session) -> None:
    """They differ, and do not repeat one token."""
    found = [alone(session, prompt, **options).ids for prompt, options in TEXTS]
    assert len({*found}) == len(found)
    assert sum(len({*ids}) for ids in found) > 0.6 * sum(map(len, found))


def test_who_leaves_changes_nothing(session: Session) -> None:
    stays, goes = (writing(session, *TEXTS[one]) for one in (1, 5))
    running, log = Running(session, True), Log()
    log.add(running.join([goes]))
    log.add(running.join([stays]))
    for _ in range(4):
        log.add(running.step())
    running.leave({goes})
    assert running.texts == [stays]
    while running.texts:
        log.add(running.step())
    assert tuple(log.ids[stays]) == alone(session, TEXTS[1][0], **TEXTS[1][1]).ids
    assert len(log.ids[goes]) == 5


def test_samples_of_a_prompt(session: Session) -> None:
    options = {"max_new_tokens": 8, "temperature": 1.3, "seed": 5, "num_return": 3}
    vocabulary = Vocabulary.of(session.folder, session.manifest)
    assert vocabulary is not None
    running, log = Running(session, True), Log()
    log.add(running.join([writing(session, *TEXTS[0])]))
    texts = writings([[4, 5, 6], [9]], Generation.of(options), (), vocabulary, ROOM, WORDS)
    log.add(running.join(texts))
    while running.texts:
        log.add(running.step())
    found = [one for prompt in ([4, 5, 6], [9]) for one in lamina.generate(session, [prompt], **options)]
    assert [log.whole[text].ids for text in texts] == [one.ids for one in found]
    assert len({one.ids for one in found}) == 6


def test_what_is_wrong_with_a_text_ends_it_alone(session: Session) -> None:
    good, bad = writing(session, *TEXTS[0]), writing(session, [1], {"suppress_tokens": list(range(WORDS))})
    running, log = Running(session, True), Log()
    log.add(running.join([good, bad]))
    while running.texts:
        log.add(running.step())
    assert isinstance(log.errors[bad], InputError)
    assert tuple(log.ids[good]) == alone(session, TEXTS[0][0], **TEXTS[0][1]).ids


def test_a_prompt_that_cannot_be_read_fails_alone(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = StreamSteps.start

    def start(steps: StreamSteps, ids: Array, mask: Array) -> Array:
        if (ids == 40).any():
            raise ValueError("40")
        return whole(steps, ids, mask)

    monkeypatch.setattr(StreamSteps, "start", start)
    good, bad = (writing(session, *TEXTS[one]) for one in (0, 1))
    log = Log()
    log.add((running := Running(session, True)).join([bad, good]))
    assert str(log.errors[bad]) == "40"
    assert running.texts == [good]


def test_a_text_has_the_whole_room(tmp_path: Path) -> None:
    """As alone, though a longer one runs beside it, and one has left its padding."""
    asked = [([*range(2, ROOM - 12)], 5), ([*range(2, ROOM - 4)], 50), ([3, 4], 500), ([9], 500), ([50, 60], 500)]
    with Session(decoder(tmp_path, "attention"), threads=1) as session:
        texts = [writing(session, prompt, {"max_new_tokens": most}) for prompt, most in asked]
        running, log = Running(session, True), Log()
        log.add(running.join(texts[2:]))
        log.add(running.join(texts[:2]))
        while running.texts:
            log.add(running.step())
        assert [log.whole[text].finish for text in texts] == ["length", "room", "room", "room", "room"]
        for text, (prompt, most) in zip(texts, asked, strict=True):
            assert log.whole[text].ids == alone(session, prompt, max_new_tokens=most).ids
