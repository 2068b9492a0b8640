"""DeepSeek-V3 against transformers: queries of low rank or not, groups of experts or none, stretched positions, padding, pieces, loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from causal_lm import activated, filled, in_training, parity, tokens
from evidence import Record
from safetensors.torch import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "language" / "deepseek_v3.yaml"
KEYS = {
    "vocabulary": "vocab_size", "dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
    "query_rank": "q_lora_rank", "rank": "kv_lora_rank", "nope": "qk_nope_head_dim", "rotary": "qk_rope_head_dim", "value": "v_head_dim",
    "dense": "first_k_dense_replace", "dense_hidden": "intermediate_size", "hidden": "moe_intermediate_size", "experts": "n_routed_experts",
    "chosen": "num_experts_per_tok", "groups": "n_group", "kept": "topk_group", "shared": "n_shared_experts",
    "scale": "routed_scaling_factor", "context": "max_position_embeddings", "eps": "rms_norm_eps",
}  # fmt: skip
YARN = {"rope_type": "yarn", "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}


def reference(config: Mapping[str, Any]) -> Any:
    """The model of transformers with this config of ours."""
    options = {theirs: config[ours] for ours, theirs in KEYS.items()} | {"num_key_value_heads": config["heads"]}
    rope = {"rope_type": "default"} if config["stretch"] == 1 else YARN
    rope = {**rope, "rope_theta": config["rope_base"], "factor": config["stretch"], "original_max_position_embeddings": config["trained"]}
    made = transformers.DeepseekV3Config(**options, rope_parameters=rope, attn_implementation="eager")
    return filled(transformers.DeepseekV3ForCausalLM(made))


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    record(SPEC, variant, "parity", parity(SPEC, variant, reference, tmp_path))


@pytest.mark.sweep
@pytest.mark.parametrize(("variant", "published"), [("671b", "37"), ("moonlight-16b", "3")])
def test_activated_parameters(variant: str, published: str) -> None:
    """Without the embedding: 36.6; with it, the first has 37.55."""
    assert activated(SPEC, variant, published, table=False) == published


def test_stacked_experts(tmp_path: Path) -> None:
    spec = lamina.load(SPEC, small=True)
    model = reference(elaborate(spec).config)
    model.save_pretrained(tmp_path / "numbered")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "stacked.safetensors")
    want, got = (lamina.to_torch(spec, weights=tmp_path / name).state_dict() for name in ("numbered", "stacked.safetensors"))
    assert all(torch.equal(got[key], want[key]) for key in want)


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_loads(variant: str, tmp_path: Path) -> None:
    """How often transformers' routers chose each expert."""
    spec = lamina.load(SPEC, variant=variant, small=True, every=True)
    model, want = reference(elaborate(spec).config), []
    for layer in model.model.layers[1:]:
        layer.mlp.gate.register_forward_hook(lambda _module, _given, made: want.append(made[2].flatten().bincount(minlength=16)))
    model.save_pretrained(tmp_path)
    ids = torch.from_numpy(tokens(2, 13, 96))
    model(ids)
    torch.testing.assert_close(in_training(spec, ids, tmp_path)[1]["loads"].long(), torch.stack(want))


def test_where_all_experts_are_chosen_the_choice_is_even() -> None:
    """Then the loss is its factor, of each layer with experts; `test_routing.py` has the formula for other choices."""
    _, found = in_training(lamina.load(SPEC, small=True, chosen=16, kept=8, balance_factor=0.5), torch.arange(22).reshape(2, 11))
    assert found["balance"].item() == pytest.approx(2 * 0.5, rel=1e-5)
