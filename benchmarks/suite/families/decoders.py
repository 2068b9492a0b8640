"""Decoders reading a prompt of 128 tokens, from transformers. `benchmarks.decoding` measures the tokens after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.suite.model import Model, Network

if TYPE_CHECKING:
    from torch import Tensor, nn


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
            rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 100000.0}, tie_word_embeddings=True,
        )
    )  # fmt: skip


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config())


def _mamba() -> nn.Module:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(num_hidden_layers=24))


def _logits(network: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    found: Tensor = network(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1).logits
    return found


MODELS = (
    Model("language/llama", "smollm2-135m", Network(_llama, _logits, inputs=2), {"T": 128, "P": 0}),
    Model("language/gpt2", "gpt2", Network(_gpt2, _logits, inputs=2), {"T": 128, "P": 0}),
    Model("language/mamba", "130m", Network(_mamba, _logits, inputs=2), {"T": 128}),
)
