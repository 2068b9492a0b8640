"""Modalities whose projections are equal, or shared, are Mamba as transformers has it; and padding leaves nothing in the memory."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import filled, tokens
from evidence import Record
from fill import fill
from safetensors.numpy import save_file

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "language" / "mixture_of_mamba.yaml"
SPLIT = ("in", "x", "dt", "out")
NAMES = {
    "backbone.embeddings": "embeddings", "backbone.norm_f": "norm", "backbone.layers": "layers", "mixer": "mamba_model",
    "lm_head": "output",
}  # fmt: skip


def mamba() -> Any:
    """Transformers' decoder of the small sizes."""
    sizes = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "tie_word_embeddings": False}
    return filled(transformers.MambaForCausalLM(transformers.MambaConfig(**sizes, use_cache=False)))


def copied(model: Any, split: list[str], modalities: int) -> dict[str, np.ndarray[Any, Any]]:
    """Its weights under the keys of the authors, with one copy for each modality of what is split."""
    found = {}
    for key, value in model.state_dict().items():
        for old, new in NAMES.items():
            key = key.replace(old, new, 1)
        part = next((part for part in split if f".{part}_proj." in key), None)
        copies = [key] if part is None else [key.replace(f"{part}_proj", f"local_experts_{part}_proj.{m}") for m in range(modalities)]
        found |= {copy: value.numpy().copy() for copy in copies}
    return found


@pytest.mark.parametrize("split", [[], ["in", "out"], ["x", "dt"], list(SPLIT)], ids="_".join)
def test_equal_projections_are_mamba(split: list[str], tmp_path: Path, record: Record) -> None:
    model, ids = mamba(), tokens(2, 20, 96)
    save_file(copied(model, split, 2), tmp_path / "weights.safetensors")
    spec = lamina.load(SPEC, "37m", small=True, every=True, parts=split)
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    modality = np.random.default_rng(1).integers(0, 2, ids.shape)
    with torch.no_grad():
        wanted = model(torch.from_numpy(ids)).logits.numpy()
    error = float(np.abs(session(input_ids=ids, modality=modality)["logits"] - wanted).max() / np.abs(wanted).max())
    assert error < 1e-5
    variant = {(): "37m_dense", ("in", "out"): "37m_in_out"}.get(tuple(split))
    if variant:
        record(SPEC, variant, "parity", f"{error:.0e} of transformers {transformers.__version__} with equal modalities, small")


@pytest.mark.parametrize("variant", ["37m", "37m_dense"])
def test_padding_leaves_nothing_in_the_memory(variant: str, tmp_path: Path) -> None:
    """Rows whose first tokens are of no modality give what they give alone, in one call and in pieces."""
    spec = lamina.load(SPEC, variant, small=True, every=True)
    weights = {k: fill(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    ids, padding = tokens(2, 12, 96), np.array([4, 7])
    modality = np.where(np.arange(12) >= padding[:, None], ids % 2, -1)
    whole, stream = session(input_ids=ids, modality=modality)["logits"], session.stream()
    cuts = itertools.pairwise([0, 5, 6, 7, 12])
    pieces = np.concatenate([stream(input_ids=ids[:, a:b], modality=modality[:, a:b])["logits"] for a, b in cuts], axis=1)
    for row, start in enumerate(padding):
        alone = session(input_ids=ids[row : row + 1, start:], modality=modality[row : row + 1, start:])["logits"][0]
        for logits in (whole, pieces):
            np.testing.assert_allclose(logits[row, start:], alone, atol=2e-5 * np.abs(alone).max())
