"""Sentences of each domain against transformers' ModernBERT with that domain's networks; equal networks are the pretrained encoder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from causal_lm import tokens
from evidence import Record
from fill import fill
from safetensors.numpy import save_file
from torch.nn.functional import layer_norm
from transformers import ModernBertConfig, ModernBertModel, __version__

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "embedding" / "domain_experts.yaml"
IDS, LENGTHS = tokens(5, 14, 95) + 1, np.array([14, 3, 9, 14, 6])
MASK = (np.arange(14) < LENGTHS[:, None]).astype(np.int64)
DOMAINS = np.array([2, 0, 1, 0, 2])
Weights = dict[str, np.ndarray[Any, Any]]


def drawn(variant: str) -> Weights:
    """By our paths, which are the authors' but for a first word."""
    module = lamina.to_torch(lamina.load(SPEC, variant, small=True))
    return {k: np.asarray(fill(k, tuple(v.shape))) for k, v in module.state_dict().items()}


def embedded(variant: str, weights: Weights, folder: Path) -> np.ndarray[Any, Any]:
    save_file({("" if k.startswith("pooler") else "bert.") + k: v for k, v in weights.items()}, folder / "weights.safetensors")
    spec = lamina.load(SPEC, variant, small=True).model_copy(update={"tokenizer": None})
    session = lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))
    domain = {"domain": DOMAINS} if any(i.name == "domain" for i in session.manifest.inputs) else {}
    found: np.ndarray[Any, Any] = session(input_ids=IDS, attention_mask=MASK, **domain)["embedding"]
    return found


def of_domain(weights: Weights, number: int) -> Weights:
    """The encoder of one domain: each layer's expert in the place of its network."""
    inside = f".experts.{number}."
    return {k.replace(inside, "."): v for k, v in weights.items() if ".experts." not in k or inside in k}


def wanted(weights: Weights) -> np.ndarray[Any, Any]:
    """Each sentence by itself, without padding."""
    rope = {
        kind: {"rope_type": "default", "rope_theta": base} for kind, base in (("full_attention", 160000.0), ("sliding_attention", 10000.0))
    }
    config = ModernBertConfig(
        vocab_size=96, hidden_size=32, num_hidden_layers=5, num_attention_heads=4, intermediate_size=48, max_position_embeddings=64,
        global_attn_every_n_layers=3, local_attention=6, rope_parameters=rope, pad_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    model, rows = ModernBertModel(config).eval(), []
    for ids, length, domain in zip(IDS, LENGTHS, DOMAINS, strict=True):
        w = {k: torch.from_numpy(v) for k, v in of_domain(weights, domain).items()}
        model.load_state_dict({k: v for k, v in w.items() if not k.startswith("pooler")})
        with torch.no_grad():
            y = model(torch.from_numpy(ids[None, :length])).last_hidden_state[0].mean(0)
        y = layer_norm(y, (32,), w["pooler.layernorm.weight"], w["pooler.layernorm.bias"])
        y = torch.tanh(y @ w["pooler.w1.weight"].T + w["pooler.w1.bias"])
        rows.append(y @ w["pooler.w2.weight"].T + w["pooler.w2.bias"])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_each_sentence_is_read_by_its_domain(variant: str, tmp_path: Path, record: Record) -> None:
    weights = drawn(variant)
    want = wanted(weights)
    error = float(np.abs(embedded(variant, weights, tmp_path) - want).max() / np.abs(want).max())
    assert error < 1e-5
    record(SPEC, variant, "parity", f"{error:.0e} of transformers {__version__}'s ModernBERT of each domain, small")


def test_copies_of_one_network_are_the_pretrained_encoder(tmp_path: Path) -> None:
    """For every domain: what training starts from."""
    one, many = drawn("base_of_one"), drawn("base")
    copies = {k: one[re.sub(r"\.experts\.\d+\.", ".", k)] for k in many}
    np.testing.assert_allclose(embedded("base", copies, tmp_path), embedded("base_of_one", one, tmp_path), atol=1e-6)


def test_one_domain_is_an_encoder_by_itself(tmp_path: Path) -> None:
    weights = drawn("base")
    whole = embedded("base", weights, tmp_path)
    for number in range(3):
        alone = embedded("base_of_one", of_domain(weights, number), tmp_path)
        np.testing.assert_allclose(alone[number == DOMAINS], whole[number == DOMAINS], atol=1e-6)
