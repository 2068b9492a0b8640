"""One expert for each modality, decoding, and layers that take some tokens, against transformers' Chameleon with networks that say so."""

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


def drawn(variant: str, scales: tuple[Scale, ...] = (), **config: object) -> Weights:
    """By our paths."""
    module = lamina.to_torch(lamina.load(SPEC, variant, small=True, **config))
    return {k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape), scales))) for k, v in module.state_dict().items()}


def session(variant: str, weights: Weights, folder: Path, **config: object) -> lamina.Session:
    save_file({k: v.numpy() for k, v in weights.items()}, folder / "weights.safetensors")
    spec = lamina.load(SPEC, variant, small=True, every=True, **config)
    return lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))


def decoded(variant: str, weights: Weights, folder: Path, **config: object) -> np.ndarray[Any, Any]:
    return session(variant, weights, folder, **config)(input_ids=IDS, modality=MODALITY)["logits"]


class Network(nn.Module):
    """Every expert reads every token, and what a token does not get is multiplied by 0."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        super().__init__()
        self.weights, self.prefix, self.modality = weights, prefix, torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        return sum((self.of(x, m) * (self.modality == m)[..., None] for m in range(2)), torch.zeros_like(x))

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


def chameleon(weights: Weights, share: int = 4) -> np.ndarray[Any, Any]:
    """Transformers' layers around those networks."""
    x, modality = weights["embed_tokens.weight"][torch.from_numpy(IDS)], torch.from_numpy(MODALITY)
    angles = ChameleonRotaryEmbedding(CONFIG)(x, torch.arange(IDS.shape[1])[None])
    for i in range(2):
        layer, prefix = ChameleonDecoderLayer(CONFIG, i).eval(), f"layers.{i}."
        layer.mlp = Network(weights, f"{prefix}mlp.")
        own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        layer.load_state_dict({k: v for k, v in own.items() if not k.startswith(("mlp.", "depth"))})
        x = torch.cat([_through(layer, row, kinds, angles, own, share) for row, kinds in zip(x.split(1), modality.split(1), strict=True)])
    norm = ChameleonRMSNorm(32, eps=1e-5)
    norm.load_state_dict({"weight": weights["norm.weight"]})
    return np.asarray((norm(x) @ weights["lm_head.weight"].T).detach())


def _through(layer: Any, x: Tensor, modality: Tensor, angles: tuple[Tensor, Tensor], weights: Weights, share: int) -> Tensor:
    """One sequence: the tokens that the layer takes, as if there were no others, and what it adds to each by its score."""
    places, score = torch.arange(x.shape[1]), torch.ones(x.shape[1], 1)
    if "depth.weight" in weights:
        score = torch.sigmoid(x[0] @ weights["depth.weight"].T)
        places = score[:, 0].topk(-(-x.shape[1] // share)).indices.sort().values
    if "depth_guess.weight" in weights:
        places = torch.nonzero(x[0] @ weights["depth_guess.weight"][0] > 0)[:, 0]
    layer.mlp.modality = modality[:, places]
    mask = torch.full((len(places),) * 2, -torch.inf).triu(1)[None, None]
    made = layer(x[:, places], attention_mask=mask, position_embeddings=tuple(part[:, places] for part in angles))[0]
    y = x.clone()
    y[:, places] += score[places] * (made - x[:, places])
    return y


@pytest.mark.parametrize("kind", ["1t1i", "4t4i_decoding", "4t4i_depths_decoding"])
def test_decoder(kind: str, tmp_path: Path, record: Record) -> None:
    weights = drawn(f"90m_{kind}")
    with torch.no_grad():
        wanted = chameleon(weights)
    error = difference(decoded(f"90m_{kind}", weights, tmp_path), wanted)
    assert error < 1e-5
    for size in ("90m", "1.4b"):
        record(SPEC, f"{size}_{kind}", "parity", f"{error:.0e} of transformers {__version__}'s Chameleon with such networks, small")


def difference(got: np.ndarray[Any, Any], want: np.ndarray[Any, Any]) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.parametrize("share", [2, 4, 12])
def test_a_layer_takes_the_tokens_that_suit_it_best(share: int, tmp_path: Path, record: Record) -> None:
    """With one expert a modality: what several experts choose among themselves is held to KempnerForge's elsewhere."""
    config = {"groups": [1, 1], "share": share}
    weights = drawn("90m_4t4i_depths", **config)
    with torch.no_grad():
        wanted = chameleon(weights, share)
    error = difference(decoded("90m_4t4i_depths", weights, tmp_path, **config), wanted)
    assert error < 1e-5
    if share == 4:
        for size in ("90m", "1.4b"):
            record(
                SPEC,
                f"{size}_4t4i_depths",
                "parity",
                f"{error:.0e} of transformers {__version__}'s Chameleon, its layers taking some tokens, small",
            )


def test_a_layer_that_takes_all_tokens_whole_is_a_dense_one(tmp_path: Path) -> None:
    weights = drawn("90m_4t4i_depths")
    dense = {k: v for k, v in weights.items() if ".depth." not in k}
    assert weights.keys() - dense.keys() == {"layers.1.depth.weight"}
    whole, wanted = tmp_path / "whole", tmp_path / "dense"
    for folder in (whole, wanted):
        folder.mkdir()
    found = decoded("90m_4t4i_depths", weights, whole, share=1, depth_gate="ones_like")
    assert difference(found, decoded("90m_4t4i", dense, wanted)) < 1e-5


def test_decoding_token_by_token_skips_layers_as_at_once(tmp_path: Path) -> None:
    weights = drawn("90m_4t4i_depths_decoding")
    ours = session("90m_4t4i_depths_decoding", weights, tmp_path)
    whole, stream = ours(input_ids=IDS, modality=MODALITY)["logits"], ours.stream()
    pieces = [stream(input_ids=IDS[:, t : t + 1], modality=MODALITY[:, t : t + 1])["logits"] for t in range(IDS.shape[1])]
    assert difference(np.concatenate(pieces, axis=1), whole) < 1e-5


def test_tokens_that_nobody_takes_are_left_as_they_are(tmp_path: Path) -> None:
    """A guess of 0.5 is a no."""
    weights = drawn("90m_4t4i_decoding", (Scale("*.guess.weight", 0, 0),))
    silent = {k: torch.zeros_like(v) if "down_proj" in k else v for k, v in weights.items()}
    np.testing.assert_array_equal(decoded("90m_4t4i_decoding", weights, tmp_path), decoded("90m_4t4i_decoding", silent, tmp_path))
