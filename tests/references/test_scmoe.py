"""Self-contrast token by token: what the authors' search goes on with, and greedy search where there is no contrast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import references
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

import lamina

HERE = Path(__file__).parent
SPECS = HERE.parents[1] / "specs" / "language"
FOUND = json.loads((HERE / "expected" / "scmoe_tokens.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of both variants, which have the same ones."""
    case = next(case for case in references() if case.spec == "language/scmoe")
    folder = tmp_path_factory.mktemp("weights")
    save_file({key: np.ascontiguousarray(array) for key, array in case.checkpoint().items()}, folder / "model.safetensors")
    Tokenizer(models.WordLevel({f"word{i}": i for i in range(96)}, unk_token="word0")).save(str(folder / "tokenizer.json"))
    return folder


def texts(spec: lamina.ModelSpec, weights: Path, folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    session = lamina.Session(lamina.compile(spec, folder / "bundle", ["onnxruntime"], weights=weights))
    return [list(text.ids) for text in lamina.generate(session, prompts, max_new_tokens=12, eos=())]


@pytest.mark.parametrize("found", FOUND, ids=lambda f: f"{f['variant']}-{f['alpha']}-{f['beta']}")
def test_tokens(found: Mapping[str, Any], weights: Path, tmp_path: Path) -> None:
    spec = lamina.load(SPECS / "scmoe.yaml", variant=found["variant"], small=True, alpha=found["alpha"], beta=found["beta"])
    assert texts(spec, weights, tmp_path, found["prompts"]) == found["tokens"]


def test_without_contrast_it_is_mixtral(weights: Path, tmp_path: Path) -> None:
    """Found by Mixtral's own spec, of the same weights."""
    plain = next(found for found in FOUND if found["beta"] == 0)
    assert texts(lamina.load(SPECS / "mixtral.yaml", small=True), weights, tmp_path, plain["prompts"]) == plain["tokens"]
