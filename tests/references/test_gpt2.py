"""GPT-2 against transformers: padded rows, piece by piece, and the keys of both kinds of checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import filled, parity, tokens
from evidence import Record
from safetensors.torch import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "language" / "gpt2.yaml"
KEYS = {
    "vocabulary": "vocab_size", "dim": "n_embd", "layers": "n_layer", "heads": "n_head", "hidden": "n_inner",
    "context": "n_positions", "eps": "layer_norm_epsilon",
}  # fmt: skip


def reference(config: Mapping[str, Any]) -> Any:
    """The model of transformers with this config of ours."""
    made = transformers.GPT2Config(**{theirs: config[ours] for ours, theirs in KEYS.items()}, attn_implementation="eager")
    return filled(transformers.GPT2LMHeadModel(made))


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    record(SPEC, variant, "parity", parity(SPEC, variant, reference, tmp_path))


def test_the_first_checkpoints(tmp_path: Path) -> None:
    """Keys without a prefix, and with the tables of which places are later."""
    spec = lamina.load(SPEC, small=True).model_copy(update={"tokenizer": None})
    model = reference(elaborate(spec).config)
    tables = {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64).tril() for i in range(2)}
    weights = {key.removeprefix("transformer."): v for key, v in model.state_dict().items() if key != "lm_head.weight"}
    save_file(weights | tables, tmp_path / "model.safetensors")
    ours = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "model.safetensors"))
    ids = tokens(2, 7, 96)
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).logits[:, -1:].numpy()
    logits = ours(input_ids=ids, attention_mask=np.ones_like(ids))["logits"]
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())
