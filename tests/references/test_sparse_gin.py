"""The graph of the strongest weights of attention, token by token, over the attention of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "sparse_gin.yaml"
Array = np.ndarray[Any, Any]
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def attended(x: Array, w: dict[str, Array]) -> tuple[Array, Array]:
    """What attention gives for a row [T, 16], and its weights of all heads together [T, T]."""
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 131072}
    config = LlamaConfig(**sizes, rope_parameters=ROPE, attn_implementation="eager")
    layer = LlamaAttention(config, 0).eval()
    layer.load_state_dict({k: torch.from_numpy(w[k]) for k in layer.state_dict()})
    given, later = torch.from_numpy(x)[None], torch.full((1, 1, len(x), len(x)), -torch.inf).triu(1)
    with torch.no_grad():
        y, weights = layer(given, LlamaRotaryEmbedding(config)(given, torch.arange(len(x))[None]), later)
    return y[0].numpy(), weights[0].sum(0).numpy()


def norm(x: Array, weight: Array) -> Array:
    found: Array = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weight
    return found


def layer(x: Array, w: dict[str, Array], most: int) -> Array:
    y, total = attended(norm(x, w["input_layernorm.weight"]), w)
    x = x + y
    network = {k.removeprefix("gnn."): v for k, v in w.items()}
    nodes, told = affine(x, network, "input_projection"), []
    for i in range(len(x)):
        strongest = sorted(range(i + 1), key=lambda j: -total[i, j])[:most]
        told.append(network["epsilon"] * nodes[i] + sum(min(total[i, j], 1) * nodes[j] for j in strongest))
    gathered = np.stack(told)

    def slope(v: Array) -> Array:
        return np.where(v > 0, v, network["slope.weight"] * v)

    inner = gathered + affine(slope(affine(gathered, network, "linear1")), network, "linear2")
    return x + w["trainable_scale"] * norm(affine(slope(inner), network, "output_projection"), w["gnn_norm.weight"])


def affine(x: Array, w: dict[str, Array], name: str) -> Array:
    found: Array = x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
    return found


def test_edges_to_the_strongest_alone(tmp_path: Path, record: Record) -> None:
    spec = lamina.load(SPEC, "top", small=True, most=3)
    weights = {k: fill(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    x = 2 * uniform("x", (2, 9, 16))
    wanted = np.stack([layer(row, weights, 3) for row in x])
    worst = float(np.abs(session(x=x)["y"] - wanted).max() / np.abs(wanted).max())
    assert worst < 1e-5
    record(SPEC, "top", "parity", f"{worst:.0e} of attention in transformers and a graph in NumPy, small")
