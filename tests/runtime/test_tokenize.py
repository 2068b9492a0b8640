"""Text as token arrays, against transformers on the same tokenizer file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest

from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.manifest import read_manifest
from lamina.runtime.text import read_texts, tokenize

TEXTS = ["the cat sat", "a cat", "unseen words here and more of the cat the cat the cat", ""]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "a"]


def tokenizer(padding: dict[str, Any] | None) -> bytes:
    """A whole-word tokenizer with [CLS] and [SEP], written by the `tokenizers` library, that pads as told."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return json.dumps(json.loads(made.to_str()) | {"padding": padding}).encode()


FIXED = {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}


def bundle(folder: Path, data: bytes, dims: dict[str, Any], shape: tuple[Any, ...] = ("N", "T"), **changes: Any) -> Path:
    inputs = [
        {"name": name, "dtype": dtype, "shape": list(shape)} for name, dtype in (("ids", "int64"), ("mask", "int32"), ("types", "int8"))
    ]
    how = {"file": "tokenizer.json", "ids": "ids", "mask": "mask", "types": "types", "max_length": 8}
    files = {"model.onnx": handmade.scale(), "tokenizer.json": data}
    return handmade.write(folder, files, inputs=inputs, tokenizer=how | changes, dims={"N": {}} | dims)


@pytest.mark.parametrize("padding", [None, FIXED, FIXED | {"strategy": "BatchLongest", "direction": "Left"}])
def test_tokens_equal_transformers(tmp_path: Path, padding: dict[str, Any] | None) -> None:
    import transformers

    folder = bundle(tmp_path, tokenizer(padding), {"T": {"max": 64}})
    got = tokenize(TEXTS, folder, read_manifest(folder))
    side = "left" if padding and padding["direction"] == "Left" else "right"
    reference = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", padding_side=side)
    expected = reference(TEXTS, padding=True, truncation=True, max_length=8, return_token_type_ids=True, return_tensors="np")
    assert [got[name].dtype for name in ("ids", "mask", "types")] == [np.int64, np.int32, np.int8]
    np.testing.assert_array_equal(got["ids"], expected["input_ids"])
    np.testing.assert_array_equal(got["mask"], expected["attention_mask"])
    np.testing.assert_array_equal(got["types"], expected["token_type_ids"])


@pytest.mark.parametrize(
    ("dims", "shape", "length"),
    [
        ({"T": {"max": 64}}, ("N", "T"), 5),
        ({"T": {"min": 6, "opt": 6, "max": 64}}, ("N", "T"), 6),
        ({"T": {"min": 4, "opt": 4, "max": 64, "multiple_of": 4}}, ("N", "T"), 8),
        ({"T": {"min": 1, "opt": 1, "max": 4}}, ("N", "T"), 4),
        ({}, ("N", 7), 7),
    ],
)
def test_lengths_are_those_that_the_dim_allows(tmp_path: Path, dims: dict[str, Any], shape: tuple[Any, ...], length: int) -> None:
    folder = bundle(tmp_path, tokenizer(FIXED), dims, shape)
    got = tokenize(["the cat sat"], folder, read_manifest(folder))
    assert got["ids"].shape == got["mask"].shape == (1, length)
    assert got["mask"].sum() == min(5, length)


def test_mask_and_types_are_optional(tmp_path: Path) -> None:
    folder = bundle(tmp_path, tokenizer(None), {"T": {"max": 64}}, types=None, mask=None)
    assert set(tokenize(["a"], folder, read_manifest(folder))) == {"ids"}


def test_refusals(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "a", b"{}", {"T": {"max": 64}})
    with pytest.raises(BundleError, match=r"tokenizer\.json is not a tokenizer"):
        tokenize(["a"], folder, read_manifest(folder))
    good = bundle(tmp_path / "good", tokenizer(None), {"T": {"max": 64}})
    with pytest.raises(InputError, match="there is no text to tokenize"):
        tokenize([], good, read_manifest(good))
    plain = handmade.write(tmp_path / "b")
    with pytest.raises(InputError, match="the bundle carries no tokenizer"):
        tokenize(["a"], plain, read_manifest(plain))


def test_a_text_file_gives_its_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xff")
    assert read_texts(["zero", str(tmp_path / "a.txt")]) == ["zero", "one", "two"]
    assert read_texts("missing.txt") == ["missing.txt"]
    with pytest.raises(InputError, match=r"b\.txt cannot be read as UTF-8 text"):
        read_texts(str(tmp_path / "b.txt"))
