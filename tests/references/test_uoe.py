"""Experts that take every token are the network that they were cut out of, and a text's tokens compete among themselves alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from causal_lm import tokens
from fill import Scale, fill
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "language" / "uoe.yaml"
IDS = torch.from_numpy(tokens(3, 13, 56))
SCALES = (Scale("*gate.weight", 0, 0.5), Scale("*.weight", 0, 0.3), Scale("*.places", 0, 1), Scale("tables.*", 0, 0.3))
Weights = dict[str, Tensor]


@functools.cache
def small(**config: Any) -> Any:
    module = lamina.to_torch(lamina.load(SPEC, "wt103", small=True, every=True, **config)).eval()
    module.load_state_dict({k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape), SCALES))) for k, v in module.state_dict().items()})
    return module


def logprobs(module: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = module(input_ids=ids)
    return found


def whole(own: Weights, name: str) -> tuple[Tensor, Tensor]:
    """The matrix and bias that experts' first layers are cut out of: [count, features, out] to [count * out, features]."""
    return own[f"{name}.weight"].transpose(1, 2).flatten(0, 1), own[f"{name}.bias"].flatten()


def joined(x: Tensor, own: Weights, name: str) -> Tensor:
    """The layer that adds up what experts make."""
    return F.linear(x, own[f"{name}.weight"].flatten(0, 1).T, own[f"{name}.bias"].sum((0, 1)))


def dense(w: Weights) -> Tensor:
    """The log-probabilities of the first range of words, of a transformer without experts."""
    x = w["tables.0"][IDS] * 8
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 1e4})
    angles = LlamaRotaryEmbedding(config)(x, torch.arange(13)[None])
    for i in range(2):
        own = {k.removeprefix(f"layers.{i}."): v for k, v in w.items() if k.startswith(f"layers.{i}.")}
        x = x + own["places"][-13:]
        q = F.linear(x, *whole(own, "attn.experts.query")).unflatten(-1, (4, 16)).transpose(1, 2)
        both = F.linear(x, *whole(own, "attn.experts.key_value")).unflatten(-1, (4, 2, 16)).transpose(1, 2)
        q, k = apply_rotary_pos_emb(q, both[..., 0, :], *angles)
        y = F.scaled_dot_product_attention(q, k, both[..., 1, :], is_causal=True).transpose(1, 2).flatten(2)
        x = F.layer_norm(x + joined(y, own, "attn.experts.out"), (64,), own["norm1.weight"], own["norm1.bias"])
        y = F.gelu(F.linear(x, *whole(own, "mlp.experts.fc1")))
        x = F.layer_norm(x + joined(y, own, "mlp.experts.fc2"), (64,), own["norm2.weight"], own["norm2.bias"])
    words = F.linear(x, w["tables.0"], w["head.biases.0"])[..., :12]
    return torch.cat([words, F.linear(x, w["head.ranges.weight"], w["head.ranges.bias"])], -1).log_softmax(-1)[..., :12]


def test_experts_that_take_every_token_are_a_dense_network() -> None:
    module = small(part=1, heads_chosen=4, slices_chosen=4)
    wanted = dense({k: v.detach() for k, v in module.state_dict().items()})
    found = logprobs(module, IDS)
    torch.testing.assert_close(found[..., :12], wanted, atol=1e-5, rtol=1e-5)
    assert (logprobs(small(), IDS)[..., :12] - wanted).abs().max() > 0.05


def test_log_probabilities_are_of_every_word() -> None:
    torch.testing.assert_close(logprobs(small(), IDS).exp().sum(-1), torch.ones(3, 13))


def test_a_text_does_not_depend_on_those_beside_it() -> None:
    module = small()
    alone = torch.cat([logprobs(module, IDS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(logprobs(module, IDS), alone)
