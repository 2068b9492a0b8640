"""The Llama family against transformers: shared and separate heads, grouped queries, biases, padded rows, piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import filled, parity, session, tokens
from evidence import Record

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "language" / "llama.yaml"
KEYS = {
    "vocabulary": "vocab_size", "dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads", "head_dim": "head_dim", "hidden": "intermediate_size", "context": "max_position_embeddings",
    "eps": "rms_norm_eps", "tied": "tie_word_embeddings",
}  # fmt: skip


def reference(config: Mapping[str, Any]) -> Any:
    """The model of transformers with this config of ours."""
    kind = "Qwen2" if config["bias"] else "Llama"
    options = {theirs: config[ours] for ours, theirs in KEYS.items()}
    rope = {"rope_type": "default", "rope_theta": config["rope_base"]}
    made = getattr(transformers, f"{kind}Config")(**options, rope_parameters=rope, attn_implementation="eager")
    return filled(getattr(transformers, f"{kind}ForCausalLM")(made))


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    record(SPEC, variant, "parity", parity(SPEC, variant, reference, tmp_path))


def test_only_the_last_logits(tmp_path: Path) -> None:
    spec = lamina.load(SPEC, small=True)
    model = reference(elaborate(spec).config)
    ids = tokens(2, 7, 96)
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).logits[:, -1:].numpy()
    logits = session(model, spec, tmp_path)(input_ids=ids, attention_mask=np.ones_like(ids))["logits"]
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())
