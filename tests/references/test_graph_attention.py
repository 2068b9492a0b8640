"""Attention with four statistics of the neighbours, each written out for one token and head at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "graph_attention.yaml"
DIM, HEADS, HEAD = 16, 2, 8
Array = np.ndarray[Any, Any]


def edges(x: Array, w: dict[str, Array]) -> Array:
    """Of each head [heads, T, T]: softmax over the tokens so far."""
    rope = {"rope_type": "default", "rope_theta": 1e4}
    config = LlamaConfig(hidden_size=DIM, num_attention_heads=HEADS, rope_parameters=rope)
    q, k = (torch.from_numpy(x @ w[f"{name}_proj.weight"].T).unflatten(-1, (HEADS, HEAD)).transpose(0, 1)[None] for name in "qk")
    q, k = apply_rotary_pos_emb(q, k, *LlamaRotaryEmbedding(config)(q, torch.arange(len(x))[None]))
    scores = (q @ k.transpose(-2, -1) / HEAD**0.5)[0]
    later = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
    found: Array = scores.masked_fill(later, -torch.inf).softmax(-1).numpy()
    return found


def layer(x: Array, w: dict[str, Array]) -> Array:
    values, heads = x @ w["v_proj.weight"].T, []
    for h, matrix in enumerate(edges(x, w)):
        own, rows = values[:, h * HEAD : (h + 1) * HEAD], []
        for i, weights in enumerate(matrix):
            near, share = own[: i + 1], weights[: i + 1, None]
            mean = (share * near).sum(0)
            rows.append(np.concatenate([mean, mean, near.max(0), (share * (near - mean) ** 2).sum(0)]))
        inner = np.stack(rows) @ w[f"nodes.{h}.pna.fc1.weight"].T
        heads.append(inner / (1 + np.exp(-inner)) @ w[f"nodes.{h}.pna.fc2.weight"].T)
    found: Array = np.concatenate(heads, axis=1) @ w["o_proj.weight"].T
    return found


def test_statistics_of_the_neighbours(tmp_path: Path, record: Record) -> None:
    spec = lamina.load(SPEC, "pna", small=True)
    weights = {k: 1.5 * fill(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    x = 2 * uniform("x", (2, 9, DIM))
    wanted = np.stack([layer(row, weights) for row in x])
    worst = float(np.abs(session(x=x)["y"] - wanted).max() / np.abs(wanted).max())
    assert worst < 1e-5
    record(SPEC, "pna", "parity", f"{worst:.0e} of the paper's statistics in NumPy, small")
