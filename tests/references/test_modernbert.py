"""ModernBERT against transformers: local and global layers, padded rows against rows by themselves, and the choice among answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import session, tokens
from evidence import Record
from fill import fill

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count

SPEC = Path(__file__).parents[2] / "specs" / "language" / "modernbert.yaml"
KEYS = {
    "vocabulary": "vocab_size", "dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
    "hidden": "intermediate_size", "context": "max_position_embeddings", "period": "global_attn_every_n_layers",
    "window": "local_attention", "eps": "norm_eps",
}  # fmt: skip
LENGTHS = (23, 14, 19)  # of rows; several windows long
IDS = tokens(3, 23, 95) + 1
MASKED = (4, 11, 0)
ANSWERS = np.array([[3, 80, 41, 7], [9, 8, 1, 2], [95, 50, 51, 52]])


def reference(config: Mapping[str, Any]) -> Any:
    """The model of transformers with this config of ours."""
    bases = {"full_attention": config["base"], "sliding_attention": config["local_base"]}
    rope = {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()}
    options = {theirs: config[ours] for ours, theirs in KEYS.items()} | {"rope_parameters": rope, "pad_token_id": 0}
    return transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**options, attn_implementation="eager")).eval()


def filled(model: Any) -> Any:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.from_numpy(fill(name, tuple(weight.shape))))
    return model


def alone(model: Any, ids: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """The logits of each row by itself, without padding."""
    with torch.no_grad():
        return [model(torch.from_numpy(row[None, :length])).logits[0].numpy() for row, length in zip(ids, LENGTHS, strict=True)]


@pytest.mark.parametrize("variant", ["base", "large"])
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    spec = lamina.load(SPEC, variant=variant, small=True)
    model = filled(reference(elaborate(spec).config))
    ours = session(model, spec, tmp_path)
    assert ours.manifest.parameters == model.num_parameters()
    mask = (np.arange(23) < np.array(LENGTHS)[:, None]).astype(np.int64)
    got = ours(input_ids=IDS, attention_mask=mask)["logits"]
    want = alone(model, IDS)
    worst = max(float(np.abs(row[: len(w)] - w).max() / np.abs(w).max()) for row, w in zip(got, want, strict=True))
    assert worst < 2e-5
    record(SPEC, variant, "parity", f"{worst:.0e} of transformers {transformers.__version__}, small")


def test_the_answer_is_theirs(tmp_path: Path, record: Record) -> None:
    """Scores of the allowed answers are the logits at the mask, so the best of them is the one that transformers' logits choose."""
    spec = lamina.load(SPEC, variant="large-instruct", small=True, mask_token=0)
    model = filled(reference(elaborate(spec).config))
    ids = IDS.copy()
    ids[np.arange(3), MASKED] = 0
    mask = (np.arange(23) < np.array(LENGTHS)[:, None]).astype(np.int64)
    got = session(model, spec, tmp_path)(input_ids=ids, attention_mask=mask, answers=ANSWERS)["scores"]
    want = np.stack([row[place, allowed] for row, place, allowed in zip(alone(model, ids), MASKED, ANSWERS, strict=True)])
    worst = float(np.abs(got - want).max() / np.abs(want).max())
    assert worst < 2e-5
    np.testing.assert_array_equal(got.argmax(1), want.argmax(1))
    record(SPEC, "large-instruct", "parity", f"{worst:.0e} of transformers {transformers.__version__}, small")


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_parameters_at_full_size(variant: str) -> None:
    found = elaborate(lamina.load(SPEC, variant=variant))
    with torch.device("meta"):
        assert parameter_count(found.graph) == reference(found.config).num_parameters()
