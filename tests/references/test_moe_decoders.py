"""Mixtral and Qwen's decoders of experts against transformers: padded rows, piece by piece, stacked experts, the loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf_decoders
import numpy as np
import pytest
import torch
import transformers
from causal_lm import activated, filled, in_training, parity, tokens
from evidence import Record
from safetensors.torch import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPECS = Path(__file__).parents[2] / "specs" / "language"
CASES = [
    (SPECS / f"{family}.yaml", variant) for family in ("mixtral", "qwen_moe") for variant in lamina.load(SPECS / f"{family}.yaml").variants
]
KEYS = {
    "vocabulary": "vocab_size", "dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads", "context": "max_position_embeddings", "eps": "rms_norm_eps", "chosen": "num_experts_per_tok",
    "balance_factor": "router_aux_loss_coef", "head_dim": "head_dim",
}  # fmt: skip


def reference(config: Mapping[str, Any]) -> Any:
    """The model of transformers with this config of ours."""
    options = {theirs: config[ours] for ours, theirs in KEYS.items()}
    kind = "Mixtral" if "normed" not in config else "Qwen3Moe" if config["normed"] else "Qwen2Moe"
    if kind == "Mixtral":
        options |= {"intermediate_size": config["hidden"], "num_local_experts": config["experts"]}
    else:
        options |= {"moe_intermediate_size": config["hidden"], "num_experts": config["experts"], "norm_topk_prob": config["normalize"]}
    if kind == "Qwen2Moe":
        options |= {"shared_expert_intermediate_size": config["shared_hidden"], "qkv_bias": config["bias"]}
    rope = {"rope_type": "default", "rope_theta": config["rope_base"]}
    made = getattr(transformers, f"{kind}Config")(**options, rope_parameters=rope, attn_implementation="eager", output_router_logits=True)
    return filled(getattr(transformers, f"{kind}ForCausalLM")(made))


@pytest.mark.parametrize(("path", "variant"), CASES, ids=lambda v: v if isinstance(v, str) else v.stem)
def test_logits(path: Path, variant: str, tmp_path: Path, record: Record) -> None:
    record(path, variant, "parity", parity(path, variant, reference, tmp_path))


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("family", "variant", "published"),
    [
        ("mixtral", "8x7b", "12.9"), ("mixtral", "8x22b", "39"),
        ("qwen_moe", "qwen1.5-2.7b", "2.7"), ("qwen_moe", "qwen2-57b", "14"),
        ("qwen_moe", "qwen3-30b", "3.35"),  # 3.353, of which the model's card says 3.3
        ("qwen_moe", "qwen3-235b", "22"),
    ],
)  # fmt: skip
def test_activated_parameters(family: str, variant: str, published: str) -> None:
    assert activated(SPECS / f"{family}.yaml", variant, published) == published


@pytest.mark.parametrize(("path", "variant"), [CASES[0], CASES[2], CASES[4]], ids=lambda v: v if isinstance(v, str) else v.stem)
def test_stacked_experts(path: Path, variant: str, tmp_path: Path) -> None:
    """As transformers has them in memory, and as in a GGUF file: each gives the weights that the numbered ones give."""
    spec = lamina.load(path, variant=variant, small=True)
    config = elaborate(spec).config
    model = reference(config)
    model.save_pretrained(tmp_path / "numbered")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "stacked.safetensors")
    kind = "llama" if "normed" not in config else "qwen3moe" if config["normed"] else "qwen2moe"
    gguf_decoders.write(tmp_path / "m.gguf", kind, model.state_dict(), config)
    want = lamina.to_torch(spec, weights=tmp_path / "numbered").state_dict()
    for found in ("stacked.safetensors", "m.gguf"):
        got = lamina.to_torch(spec, weights=tmp_path / found).state_dict()
        assert got.keys() == want.keys()
        assert all(torch.equal(got[key], want[key]) for key in want), found


@pytest.mark.parametrize(("path", "variant"), [CASES[0], CASES[2]], ids=lambda v: v if isinstance(v, str) else v.stem)
def test_loss_of_balance(path: Path, variant: str, tmp_path: Path) -> None:
    """And its gradient, which reaches the routers alone."""
    spec = lamina.load(path, variant=variant, small=True, every=True)
    model = reference(elaborate(spec).config)
    model.save_pretrained(tmp_path)
    ids = torch.from_numpy(tokens(2, 13, 96))
    module, found = in_training(spec, ids, tmp_path)
    want = model(ids, output_router_logits=True).aux_loss * model.config.router_aux_loss_coef
    torch.testing.assert_close(found["balance"], want, rtol=1e-5, atol=0)
    want.backward()
    found["balance"].backward()
    for layer in range(2):
        theirs = model.get_parameter(f"model.layers.{layer}.mlp.gate.weight").grad
        np.testing.assert_allclose(module.get_parameter(f"layers.{layer}.mlp.gate.weight").grad, theirs, atol=1e-5 * theirs.abs().max())
