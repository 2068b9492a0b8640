"""Heads with windows of their own against PyTorch's attention with the whole mask of each, in one call and in pieces."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "moa.yaml"
DIM, HEADS, SINKS = 128, 32, 2
Array = np.ndarray[Any, Any]


def compiled(variant: str, folder: Path) -> tuple[lamina.Session, dict[str, Tensor], list[int]]:
    """A session, its weights by path, and the span of each head."""
    spec = lamina.load(SPEC, variant, small=True)
    weights = {k: 2 * fill(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, folder / variant, weights=folder / "weights.safetensors"))
    spans = elaborate(spec).config["spans"]
    return session, {k: torch.from_numpy(v) for k, v in weights.items()}, list(spans)


def attended(x: Array, w: dict[str, Tensor], mask: Tensor) -> Array:
    """The layer with a mask [heads, T, T]."""
    states = torch.from_numpy(x)
    q, k, v = ((states @ w[f"{name}_proj.weight"].T).unflatten(-1, (HEADS, -1)).transpose(1, 2) for name in "qkv")
    config = LlamaConfig(hidden_size=DIM, num_attention_heads=HEADS, rope_parameters={"rope_type": "default", "rope_theta": 1e4})
    q, k = apply_rotary_pos_emb(q, k, *LlamaRotaryEmbedding(config)(v, torch.arange(x.shape[1])[None]))
    y = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return (y.transpose(1, 2).flatten(2) @ w["o_proj.weight"].T).numpy()


def masks(spans: list[int], length: int) -> Tensor:
    """[heads, T, T], an entry at a time: a query sees the first tokens and the last of its head's span, itself among them."""
    rows = [[[j <= i and (j < SINKS or i - j < span) for j in range(length)] for i in range(length)] for span in spans]
    return torch.tensor(rows)


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_whole_and_in_pieces(variant: str, tmp_path: Path, record: Record) -> None:
    session, weights, spans = compiled(variant, tmp_path)
    x = 2 * uniform("x", (2, 16, DIM))
    wanted = attended(x, weights, masks(spans, 16))
    found = [session(x=x)["y"]]
    for cuts in ([0, 1, 2, 3, 9, 10, 16], range(17)):
        stream = session.stream()
        found.append(np.concatenate([stream(x=x[:, a:b])["y"] for a, b in itertools.pairwise(cuts)], axis=1))
    worst = max(float(np.abs(y - wanted).max() / np.abs(wanted).max()) for y in found)
    assert worst < 1e-5
    record(SPEC, variant, "parity", f"{worst:.0e} of PyTorch's attention with the whole masks, small")


def test_full_spans_are_causal_attention(tmp_path: Path) -> None:
    session, weights, _ = compiled("full", tmp_path)
    x = 2 * uniform("x", (1, 16, DIM))
    wanted = attended(x, weights, torch.ones(16, 16, dtype=torch.bool).tril())
    np.testing.assert_allclose(session(x=x)["y"], wanted, atol=1e-5 * np.abs(wanted).max())


def test_spans_and_caches_are_as_planned(tmp_path: Path) -> None:
    """Of a sequence of 16 in units of 4: 1/8 of it, and a unit more for some heads; each group's cache is as long as its span."""
    session, _, spans = compiled("vicuna_7b_layer_31", tmp_path)
    assert [sorted(set(spans)), spans[0], spans[6], spans.count(6)] == [[2, 6], 2, 6, 11]
    shapes = {v.name.split(".")[-1] + str(v.shape[1]): v.shape[1:3] for v in session.manifest.inputs if "keys" in v.name}
    assert shapes == {"first_keys21": (21, 2), "last_keys21": (21, 2), "first_keys11": (11, 2), "last_keys11": (11, 6)}


def test_windows_matter(tmp_path: Path) -> None:
    """A token that has left every window, and is not among the first, changes nothing more in this layer."""
    session, _, spans = compiled("vicuna_7b_layer_31", tmp_path)
    x = 2 * uniform("x", (1, 16, DIM))
    before = session(x=x)["y"]
    x[:, 5] += 1
    changed = np.abs(session(x=x)["y"] - before).max(axis=(0, 2)) > 1e-6
    assert changed.tolist() == [5 <= i < 5 + max(spans) for i in range(16)]
