"""One expert for each modality, and decoding, against transformers' Chameleon with networks that say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from causal_lm import tokens
from evidence import Record
from fill import Scale, fill
from safetensors.numpy import save_file
from torch import Tensor, nn
from transformers import ChameleonConfig, __version__
from transformers.models.chameleon.modeling_chameleon import ChameleonDecoderLayer, ChameleonMLP, ChameleonRMSNorm, ChameleonRotaryEmbedding

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "language" / "moma.yaml"
IDS, MODALITY = tokens(3, 12, 96), tokens(4, 9, 2).reshape(3, 12)
CONFIG = ChameleonConfig(
    hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=4, rms_norm_eps=1e-5,
    rope_parameters={"rope_type": "default", "rope_theta": 1e4}, attn_implementation="eager",
)  # fmt: skip
Weights = dict[str, Tensor]


def drawn(variant: str, scales: tuple[Scale, ...] = ()) -> Weights:
    """By our paths."""
    module = lamina.to_torch(lamina.load(SPEC, variant, small=True))
    return {k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape), scales))) for k, v in module.state_dict().items()}


def decoded(variant: str, weights: Weights, folder: Path) -> np.ndarray[Any, Any]:
    save_file({k: v.numpy() for k, v in weights.items()}, folder / "weights.safetensors")
    spec = lamina.load(SPEC, variant, small=True, every=True)
    return lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))(
        input_ids=IDS, modality=MODALITY
    )["logits"]


class Network(nn.Module):
    """Every expert reads every token, and what a token does not get is multiplied by 0."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        super().__init__()
        self.weights, self.prefix = weights, prefix

    def forward(self, x: Tensor) -> Tensor:
        return sum((self.of(x, m) * torch.from_numpy(m == MODALITY)[..., None] for m in range(2)), torch.zeros_like(x))

    def of(self, x: Tensor, m: int) -> Tensor:
        path = f"{self.prefix}of.{m}."
        if f"{path}guess.weight" not in self.weights:
            return self.expert(x, f"{path}experts.0.")
        gates, guesses = (torch.sigmoid(x @ self.weights[f"{path}{name}.weight"].T) for name in ("gate", "guess"))
        shares = gates * (guesses > 0.5)
        return sum((shares[..., e, None] * self.expert(x, f"{path}experts.{e}.") for e in range(4)), torch.zeros_like(x))

    def expert(self, x: Tensor, path: str) -> Tensor:
        made = ChameleonMLP(CONFIG)
        made.load_state_dict({k.removeprefix(path): v for k, v in self.weights.items() if k.startswith(path)})
        y: Tensor = made(x)
        return y


def chameleon(weights: Weights) -> np.ndarray[Any, Any]:
    """Transformers' layers around those networks."""
    x = weights["embed_tokens.weight"][torch.from_numpy(IDS)]
    angles = ChameleonRotaryEmbedding(CONFIG)(x, torch.arange(IDS.shape[1])[None])
    mask = torch.full((IDS.shape[1],) * 2, -torch.inf).triu(1)[None, None]
    for i in range(2):
        layer, prefix = ChameleonDecoderLayer(CONFIG, i).eval(), f"layers.{i}."
        layer.mlp = Network(weights, f"{prefix}mlp.")
        layer.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix) and ".mlp." not in k})
        x = layer(x, attention_mask=mask, position_embeddings=angles)[0]
    norm = ChameleonRMSNorm(32, eps=1e-5)
    norm.load_state_dict({"weight": weights["norm.weight"]})
    return np.asarray((norm(x) @ weights["lm_head.weight"].T).detach())


@pytest.mark.parametrize("kind", ["1t1i", "4t4i_decoding"])
def test_decoder(kind: str, tmp_path: Path, record: Record) -> None:
    weights = drawn(f"90m_{kind}")
    with torch.no_grad():
        wanted = chameleon(weights)
    error = float(np.abs(decoded(f"90m_{kind}", weights, tmp_path) - wanted).max() / np.abs(wanted).max())
    assert error < 1e-5
    for size in ("90m", "1.4b"):
        record(SPEC, f"{size}_{kind}", "parity", f"{error:.0e} of transformers {__version__}'s Chameleon with such networks, small")


def test_tokens_that_nobody_takes_are_left_as_they_are(tmp_path: Path) -> None:
    """A guess of 0.5 is a no."""
    weights = drawn("90m_4t4i_decoding", (Scale("*.guess.weight", 0, 0),))
    silent = {k: torch.zeros_like(v) if "down_proj" in k else v for k, v in weights.items()}
    np.testing.assert_array_equal(decoded("90m_4t4i_decoding", weights, tmp_path), decoded("90m_4t4i_decoding", silent, tmp_path))
