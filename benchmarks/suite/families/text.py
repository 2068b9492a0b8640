"""Encoders of text, from transformers: sequences of 128 tokens, none of them padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.suite.model import Model, Network

if TYPE_CHECKING:
    from torch import Tensor, nn


def _minilm() -> nn.Module:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    return BertModel(BertConfig(**sizes), add_pooling_layer=False)


def _mean(network: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    import torch

    states = network(input_ids=ids, attention_mask=mask).last_hidden_state
    weight = mask[..., None].to(states.dtype)
    return torch.nn.functional.normalize((states * weight).sum(1) / weight.sum(1).clamp(min=1e-9))


def _modernbert() -> nn.Module:
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    return ModernBertForMaskedLM(ModernBertConfig())


def _logits(network: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    found: Tensor = network(input_ids=ids, attention_mask=mask).logits
    return found


MODELS = (
    Model("embedding/minilm", None, Network(_minilm, _mean, inputs=2), {"T": 128}),
    Model("language/modernbert", "base", Network(_modernbert, _logits, inputs=2), {"T": 128}),
)
