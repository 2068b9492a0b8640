"""The tokenizer of a GGUF file: what it holds becomes a file of `tokenizers`, what is not read is refused, and the nearest one is taken.

That ids are llama.cpp's is held against SmolLM2's file in tests/references/test_smollm2.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from gguf_files import write_gguf

import lamina
from lamina.compiler.weights.gguf_tokenizer import gguf_tokenizer
from lamina.schema.diagnostics import Fault, SpecError

PREFIX = "tokenizer.ggml."
HELD: dict[str, Any] = {
    "model": "gpt2",
    "pre": "gpt-2",
    "tokens": ["<s>", "</s>", "a", "b", "Ġ", "ab", "Ġab", "<tool>"],
    "token_type": [3, 3, 1, 1, 1, 1, 1, 4],
    "merges": ["a b", "Ġ ab"],
}


def held(path: Path, **changes: Any) -> Path:
    values = {PREFIX + key: value for key, value in {**HELD, **changes}.items() if value is not None}
    return write_gguf(path, {"fc.weight": np.ones((4, 4), np.float32)}, values)


def ids(path: Path, text: str, *pair: str) -> list[int]:
    made = gguf_tokenizer(path)
    assert made is not None
    found: list[int] = tokenizers.Tokenizer.from_str(made.decode()).encode(text, *pair).ids
    return found


def test_tokens_that_stand_in_a_text(tmp_path: Path) -> None:
    """Control tokens are special, those that a user defined are found and are not."""
    path = held(tmp_path / "m.gguf")
    assert ids(path, "ab ab</s>b<tool>") == [5, 6, 1, 3, 7]
    made = gguf_tokenizer(path)
    assert made is not None
    assert tokenizers.Tokenizer.from_str(made.decode()).decode([5, 1, 6, 7]) == "ab ab<tool>"


@pytest.mark.parametrize(
    ("asked", "expected", "pair"),
    [
        ({}, [5], [5, 3]),
        ({"add_bos_token": True, "bos_token_id": 0}, [0, 5], [0, 5, 3]),
        ({"add_eos_token": True, "eos_token_id": 1}, [5, 1], [5, 1, 3]),
        ({"add_bos_token": True, "add_eos_token": True, "bos_token_id": 0, "eos_token_id": 1}, [0, 5, 1], [0, 5, 1, 3]),
        ({"add_bos_token": False, "bos_token_id": 0}, [5], [5, 3]),
    ],
)
def test_what_is_put_around_a_text(asked: dict[str, Any], expected: list[int], pair: list[int], tmp_path: Path) -> None:
    path = held(tmp_path / "m.gguf", **asked)
    assert ids(path, "ab") == expected
    assert ids(path, "ab", "b") == pair


def test_a_word_that_is_a_token_is_not_merged(tmp_path: Path) -> None:
    """Llama 3's vocabulary holds words that no merge makes."""
    tokens = [*HELD["tokens"], "ba"]
    changes = {"tokens": tokens, "token_type": [*HELD["token_type"], 1]}
    assert ids(held(tmp_path / "a.gguf", pre="llama-bpe", **changes), "ba") == [8]
    assert ids(held(tmp_path / "b.gguf", **changes), "ba") == [3, 2]


def test_without_kinds_every_token_is_a_plain_one(tmp_path: Path) -> None:
    assert ids(held(tmp_path / "m.gguf", token_type=None), "ab") == [5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "llama"}, "the checkpoint holds a tokenizer of the kind `llama`, which is not read"),
        ({"model": "bert"}, "of the kind `bert`"),
        ({"pre": "tekken"}, "that cuts words as `tekken`, which is not read .the kinds are gpt-2, smollm, llama-bpe, llama3, qwen2"),
        ({"pre": None}, "that cuts words as no `tokenizer.ggml.pre`"),
        ({"tokens": None}, "its tokenizer has no tokens"),
        ({"tokens": [1, 2]}, "its tokenizer has no tokens"),
        ({"tokens": ["a", "a"], "token_type": [1, 1], "merges": None}, "its tokenizer has a token twice"),
        ({"token_type": [1]}, "its tokenizer has 8 tokens and 1 kinds of them"),
        ({"token_type": [float("nan")] * 8}, "its tokenizer has 8 tokens and 0 kinds of them"),
        ({"merges": ["a c"]}, "its tokenizer merges `a c`, which are not two tokens that make a third"),
        ({"merges": ["b a"]}, "merges `b a`"),
        ({"merges": ["ab"]}, "merges `ab`"),
        ({"add_bos_token": True}, "adds the token None to a text, which is none of its 8"),
        ({"add_eos_token": True, "eos_token_id": 8}, "adds the token 8 to a text"),
    ],
)
def test_what_is_not_read_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = held(tmp_path / "m.gguf", **changes)
    with pytest.raises(Fault, match=message) as caught:
        gguf_tokenizer(path)
    assert caught.value.span is not None
    assert caught.value.span.file == str(path)


def test_a_file_may_hold_none(tmp_path: Path) -> None:
    assert gguf_tokenizer(held(tmp_path / "m.gguf", model=None)) is None


SPEC = """
lamina: 1
model: words
inputs: {ids: "float32[N, T, 4]"}
dims: {N: {min: 1, max: 8}, T: {min: 1, max: 8}}
body:
  - {linear: {out: 4, bias: false}, name: fc}
outputs: {y: "float32[N, T, 4]"}
tokenizer: {ids: ids}
"""


def compiled(spec: Path, **how: Any) -> str:
    """The text of the bundle's tokenizer."""
    bundle = lamina.compile(lamina.load(spec), spec.parent / "bundle", targets=["onnx"], **how)
    return (bundle / "tokenizer.json").read_text(encoding="utf-8")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec" / "words.yaml").write_text(SPEC)
    (tmp_path / "weights").mkdir()
    return tmp_path / "spec" / "words.yaml"


def test_the_nearest_tokenizer_is_taken(spec: Path, tmp_path: Path) -> None:
    """Beside the checkpoint, else in it, else beside the spec."""
    checkpoint = held(tmp_path / "weights" / "m.gguf")
    (spec.parent / "tokenizer.json").write_text("of the spec")
    made = gguf_tokenizer(checkpoint)
    assert made is not None
    assert compiled(spec, weights=checkpoint) == made.decode()
    assert compiled(spec, weights=checkpoint.parent) == made.decode()
    (checkpoint.parent / "tokenizer.json").write_text("of the checkpoint")
    assert compiled(spec, weights=checkpoint) == "of the checkpoint"
    assert compiled(spec) == "of the spec"
    (checkpoint.parent / "tokenizer.json").unlink()
    assert compiled(spec, weights=held(checkpoint, model=None)) == "of the spec"


def test_a_tokenizer_that_is_not_read_makes_no_bundle(spec: Path, tmp_path: Path) -> None:
    checkpoint = held(tmp_path / "weights" / "m.gguf", model="t5")
    with pytest.raises(SpecError, match="a tokenizer of the kind `t5`, which is not read") as caught:
        compiled(spec, weights=checkpoint)
    assert caught.value.diagnostics[0].hint == "put the model's own tokenizer.json beside the checkpoint"
    (checkpoint.parent / "tokenizer.json").write_text("the model's own")
    assert compiled(spec, weights=checkpoint) == "the model's own"


def test_a_checkpoint_without_any_is_told_where_it_was_sought(spec: Path, tmp_path: Path) -> None:
    checkpoint = held(tmp_path / "weights" / "m.gguf", model=None)
    with pytest.raises(SpecError, match=f"the tokenizer `tokenizer.json` is not in {checkpoint.parent} or {spec.parent}"):
        compiled(spec, weights=checkpoint)
