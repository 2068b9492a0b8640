"""`generate` and `generate_stream` on a bundle whose decoder is a table: texts, their ends, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
from decoders import TableSteps, hashed
from tokenizers import Tokenizer
from tokenizers_made import END, byte_fallback, byte_level

import lamina
from lamina.runtime import BundleError, InputError, Session, generate, generate_stream
from lamina.runtime.generation.texts import Piece

TOKENIZER = byte_level()
SIZE = TOKENIZER.get_vocab_size()
TEXT = "the cat 🙂 sat\n\non the mat"


def bundle(folder: Path, tokenizer: Tokenizer | None = TOKENIZER, **more: Any) -> Path:
    """A bundle with a tokenizer. Its model is beside the point: `recites` or `rambles` stand in for it."""
    if tokenizer is None:
        return handmade.write(folder)
    files = {"model.onnx": handmade.scale(), "tokenizer.json": tokenizer.to_str().encode()}
    how = {"file": "tokenizer.json", "ids": "x", "max_length": 8, "eos": [tokenizer.token_to_id(END)]} | more
    return handmade.write(folder, files, tokenizer=how)


@pytest.fixture
def recites(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """A decoder that goes on with TEXT and its end, whatever the prompt was; the prompts that it was given."""
    script, prompts = [*TOKENIZER.encode(TEXT).ids, TOKENIZER.token_to_id(END)], []
    steps = TableSteps(lambda read: read, room=100)  # type: ignore[arg-type, return-value]

    def start(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        prompts[:] = [row[kept == 1].tolist() for row, kept in zip(ids, mask, strict=True)]
        steps.read = [()] * len(ids)
        return steps._now()

    steps._logits = lambda read: np.where(np.arange(SIZE) == script[min(len(read), len(script) - 1)], np.float32(9), np.float32(0))
    steps.start = start  # type: ignore[method-assign]
    monkeypatch.setattr("lamina.runtime.generation.generate.steps_of", lambda session: steps)
    return prompts


@pytest.fixture
def rambles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that says anything."""
    monkeypatch.setattr("lamina.runtime.generation.generate.steps_of", lambda session: TableSteps(hashed(SIZE), room=100))


def test_a_text(tmp_path: Path, recites: list[list[int]]) -> None:
    (found,) = lamina.generate(bundle(tmp_path), "a cat")
    assert (found.text, found.finish) == (TEXT, "eos")
    assert list(found.ids) == [*TOKENIZER.encode(TEXT).ids, TOKENIZER.token_to_id(END)]
    assert recites == [TOKENIZER.encode("a cat").ids]
    assert found.prompt_tokens == len(recites[0])
    assert 0 < found.first_seconds < found.seconds
    certain = 9 - np.log(np.exp(9.0) + SIZE - 1)
    assert found.logprob == pytest.approx(certain * len(found.ids), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "text", "finish"),
    [
        ({"stop": "\n\n"}, "the cat 🙂 sat", "stop"),
        ({"stop": ["mat", "t 🙂"]}, "the ca", "stop"),
        ({"stop": "at the"}, TEXT, "eos"),
        ({"stop": END}, TEXT, "eos"),
        ({"max_new_tokens": 2}, "the cat", "length"),
        ({"eos": TOKENIZER.encode(" sat").ids[-1:]}, "the cat 🙂" + TOKENIZER.decode(TOKENIZER.encode(" sat").ids[:-1]), "eos"),
        ({"stop": END, "eos": ()}, TEXT, "eos"),
    ],
)
@pytest.mark.parametrize("beams", [1, 2])
def test_ends(tmp_path: Path, recites: list[list[int]], options: dict[str, Any], text: str, finish: str, beams: int) -> None:
    (found,) = generate(bundle(tmp_path), ["x"], beams=beams, **options)
    assert (found.text, found.finish) == (text, finish)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "num_return": 3, "seed": 1}, {"beams": 4, "num_return": 2}])
def test_a_stream_is_the_texts(tmp_path: Path, rambles: None, options: dict[str, Any]) -> None:
    """Its pieces, joined, are the tokens and the texts that `generate` gives, and `tokenizers` decodes of the tokens."""
    with Session(bundle(tmp_path)) as session:
        options |= {"max_new_tokens": 20, "stop": ["e", "q"]}
        texts = generate(session, ["the", "a cat", "é"], **options)
        pieces = list(generate_stream(session, ["the", "a cat", "é"], **options))
    assert [(t.prompt, t.sample) for t in texts] == [(p, s) for p in range(3) for s in range(options.get("num_return", 1))]
    for text in texts:
        mine = [piece for piece in pieces if (piece.prompt, piece.sample) == (text.prompt, text.sample)]
        assert "".join(piece.text for piece in mine) == text.text
        assert tuple(token for piece in mine for token in piece.ids) == text.ids
        decoded = TOKENIZER.decode(list(text.ids))
        assert text.text == min((decoded.split(stop)[0] for stop in ("e", "q")), key=len)
        assert [piece.whole is None for piece in mine] == [True] * (len(mine) - 1) + [False]
    assert {text.finish for text in texts} == {"length", "stop"} or options.get("beams")


def test_tokens_come_one_by_one(tmp_path: Path, recites: list[list[int]]) -> None:
    first = next(generate_stream(bundle(tmp_path), "x"))
    assert first == Piece(0, 0, (TOKENIZER.encode(TEXT).ids[0],), "the", None)


def test_tokens_stand_for_a_prompt(tmp_path: Path, rambles: None) -> None:
    """And need no tokenizer, whose text they then lack."""
    texts = generate(bundle(tmp_path / "a"), ["a cat"], max_new_tokens=5)
    tokens = generate(bundle(tmp_path / "b", None), [TOKENIZER.encode("a cat").ids], max_new_tokens=5)
    assert texts[0].ids == tokens[0].ids
    assert tokens[0].text == ""


def test_what_the_tokenizer_adds_is_read(tmp_path: Path, recites: list[list[int]]) -> None:
    generate(bundle(tmp_path, byte_fallback()), ["cat"], max_new_tokens=1)
    assert recites == [byte_fallback().encode("cat").ids]
    assert recites[0][0] == 1


def test_refusals(tmp_path: Path, rambles: None) -> None:
    whole, plain = bundle(tmp_path / "whole"), bundle(tmp_path / "plain", None)
    broken = handmade.write(
        tmp_path / "broken", {"model.onnx": handmade.scale(), "t.json": b"{}"}, tokenizer={"file": "t.json", "ids": "x", "max_length": 8}
    )
    for folder, prompts, options, error, said in (
        (whole, "a", {"temprature": 1, "beams": 0}, InputError, "`temprature` is not an option of generation; did you mean `temperature`"),
        (whole, [], {}, InputError, "there is no prompt"),
        (whole, ["a", ""], {}, InputError, "prompt 1 is empty"),
        (whole, "a b c " * 50, {}, InputError, r"prompt 0 has \d+ tokens, and the model has room for 100"),
        (whole, "\ud800", {}, InputError, "the tokenizer refuses the prompts"),
        (plain, "a", {}, InputError, "the bundle carries no tokenizer; give prompts as token ids"),
        (plain, [[1]], {"stop": "a"}, InputError, "`stop` needs a tokenizer"),
        (broken, "a", {}, BundleError, r"t\.json is not a tokenizer"),
        (tmp_path / "absent", "a", {}, BundleError, "does not exist"),
    ):
        with pytest.raises(error, match=said):
            generate(folder, prompts, **options)


def test_a_bundle_without_state(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="carries no state from one call to the next"):
        generate(bundle(tmp_path), "a")


def test_options_are_checked_before_anything_is_opened() -> None:
    with pytest.raises(InputError, match="`beams` is 0"):
        generate_stream("no such folder", "a", beams=0)
