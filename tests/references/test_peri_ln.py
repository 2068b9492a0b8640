"""Placements of norms against transformers: around layers as in Gemma 2, behind as in OLMo 2, before as in Llama, and put into a Llama."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import filled, session, tokens, worst
from evidence import Record
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count

SPEC = Path(__file__).parents[2] / "specs" / "language" / "peri_ln.yaml"
KEYS = {
    "vocabulary": "vocab_size", "dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads", "head_dim": "head_dim", "hidden": "intermediate_size", "context": "max_position_embeddings",
    "eps": "rms_norm_eps", "tied": "tie_word_embeddings",
}  # fmt: skip


def reference(variant: str, config: Mapping[str, Any]) -> Any:
    """The model of transformers with this config of ours."""
    options = {theirs: config[ours] for ours, theirs in KEYS.items()}
    options |= {"rope_parameters": {"rope_type": "default", "rope_theta": config["rope_base"]}, "attn_implementation": "eager"}
    if variant.startswith("gemma2"):
        return _gemma2(config, options)
    if variant.startswith("olmo2"):
        return transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**options))
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**options))
    return llama if config["placement"] == "pre" else placed(llama, config)


def _gemma2(config: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    caps = {"attn_logit_softcapping": config["softcap"], "final_logit_softcapping": config["final_softcap"]}
    made = transformers.Gemma2Config(**options, **caps, query_pre_attn_scalar=config["head_dim"], sliding_window=config["window"])
    return transformers.Gemma2ForCausalLM(made)


class Placed(nn.Module):
    """One sublayer, with the placements that Llama has not."""

    def __init__(self, inner: nn.Module, placement: str, width: int, eps: float) -> None:
        super().__init__()
        self.inner, self.placement = inner, placement
        names = {"output": ["norm_out"], "peri": ["norm_in", "norm_out"], "post": ["norm_sum"]}[placement]
        for name in names:
            setattr(self, name, LlamaRMSNorm(width, eps))

    def forward(self, x: torch.Tensor, **options: Any) -> torch.Tensor:
        def inner(y: torch.Tensor) -> torch.Tensor:
            found = self.inner(y, **options)
            return found[0] if isinstance(found, tuple) else found

        if self.placement == "output":
            return x + self.norm_out(inner(x))
        if self.placement == "peri":
            return x + self.norm_out(inner(self.norm_in(x)))
        return self.norm_sum(x + inner(x))


class Layer(nn.Module):
    def __init__(self, layer: Any, placement: str, width: int, eps: float) -> None:
        super().__init__()
        self.self_attn, self.mlp = (Placed(inner, placement, width, eps) for inner in (layer.self_attn, layer.mlp))

    def forward(self, x: torch.Tensor, **options: Any) -> torch.Tensor:
        return self.mlp(self.self_attn(x, **options))


def placed(model: Any, config: Mapping[str, Any]) -> Any:
    """A Llama whose layers have these norms."""
    sizes = (config["placement"], config["dim"], config["eps"])
    model.model.layers = nn.ModuleList([Layer(layer, *sizes) for layer in model.model.layers])
    if config["placement"] == "post":
        model.model.norm = nn.Identity()
    if config["placement"] == "peri":
        model.model.embed_norm = LlamaRMSNorm(config["dim"], config["eps"])
        model.model.embed_tokens.register_forward_hook(lambda module, args, found: model.model.embed_norm(found))
    return model


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    spec = lamina.load(SPEC, variant=variant, small=True, every=True)
    model = filled(reference(variant, elaborate(spec).config))
    ours = session(model, spec, tmp_path)
    assert ours.manifest.parameters == model.num_parameters()
    error = worst(model, ours, tokens(3, 12, 96), np.array([0, 4, 7]))
    assert error < 2e-5
    record(SPEC, variant, "parity", f"{error:.0e} of transformers {transformers.__version__}, small")


@pytest.mark.parametrize("variant", ["gemma2-2b", "gemma2-9b", "olmo2-1b", "olmo2-7b"])
def test_parameters_at_full_size(variant: str) -> None:
    found = elaborate(lamina.load(SPEC, variant=variant))
    with torch.device("meta"):
        assert parameter_count(found.graph) == reference(variant, found.config).num_parameters()
