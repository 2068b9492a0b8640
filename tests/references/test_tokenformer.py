"""A TokenFormer that has grown computes what it did before, by the authors' code: new tokens begin with keys of 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cases import references
from evidence import Record
from safetensors.numpy import save_file

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "language" / "tokenformer.yaml"
GROWN = 6


def test_growth_changes_nothing(tmp_path: Path, record: Record) -> None:
    case = next(case for case in references() if case.spec == "language/tokenformer" and case.variant == "150m")
    rng, weights = np.random.default_rng(0), case.checkpoint()
    for key, array in weights.items():
        if key.endswith("param_tokens"):
            new = np.zeros if "key_" in key else rng.standard_normal
            weights[key] = np.concatenate([array, new((GROWN, array.shape[1]))]).astype(np.float32)
    save_file(weights, tmp_path / "grown.safetensors")
    spec = lamina.load(SPEC, variant="150m-grown", small=True, grown=GROWN, every=True).model_copy(update={"tokenizer": None})
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "grown.safetensors"))
    worst = 0.0
    for feeds, want in zip(case.inputs(), case.outputs(), strict=True):
        difference = session(**feeds)["logits"] - want["logits"]
        worst = max(worst, float(np.abs(difference).max() / np.abs(want["logits"]).max()))
    assert worst < 1e-5
    record(SPEC, "150m-grown", "parity", f"{worst:.0e} of {case.reference} before it grew, small")
