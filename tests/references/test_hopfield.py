"""The memory's theory, and that one step is attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fill import uniform
from safetensors.numpy import save_file
from safetensors.torch import load_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "memory" / "hopfield.yaml"
BARE = {f"prepare_{name}": "identity" for name in ("state", "stored", "projection")}
Array = np.ndarray[Any, Any]


def session(folder: Path, variant: str, **config: Any) -> lamina.Session:
    spec = lamina.load(SPEC, variant=variant, small=True, **config)
    return lamina.Session(lamina.compile(spec, folder / "bundle"))


def beside_attention(folder: Path, variant: str, **config: Any) -> tuple[lamina.Session, torch.nn.MultiheadAttention, Array]:
    """A layer without norms, PyTorch's attention with its weights in double precision, and what the layer has learnt of its own."""
    spec = lamina.load(SPEC, variant=variant, small=True, **BARE, **config)
    weights = {p.name: uniform(p.name, p.shape) for p in elaborate(spec).graph.parameters()}
    save_file(weights, folder / "weights.safetensors")
    width = weights["out.bias"].size
    mha = torch.nn.MultiheadAttention(width, config.get("heads", 8), batch_first=True, dtype=torch.float64)
    names = ("query", "key", "value")
    stacked = {f"in_proj_{part}": np.concatenate([weights[f"{name}.{part}"] for name in names]) for part in ("weight", "bias")}
    stacked |= {f"out_proj.{part}": weights[f"out.{part}"] for part in ("weight", "bias")}
    mha.load_state_dict({key: torch.from_numpy(array) for key, array in stacked.items()})
    return (
        lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors")),
        mha,
        weights.get("states.weight"),
    )


def attended(mha: torch.nn.MultiheadAttention, state: Array, stored: Array) -> Array:
    patterns = torch.from_numpy(stored).double()
    with torch.no_grad():
        found: Array = mha(torch.from_numpy(state).double(), patterns, patterns, need_weights=False)[0].numpy()
    return found


@pytest.mark.parametrize(("width", "heads"), [(16, 8), (24, 3), (64, 1)])
def test_one_step_without_norms_is_multi_head_attention(tmp_path: Path, width: int, heads: int) -> None:
    layer, mha, _ = beside_attention(tmp_path, "hopfield", width=width, heads=heads)
    module = lamina.to_torch(lamina.load(SPEC, variant="hopfield", small=True, **BARE, width=width, heads=heads))
    module.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for n, states, patterns in ((1, 1, 1), (2, 3, 5), (3, 40, 2), (5, 2, 300)):
        state, stored = uniform("state", (n, states, width)), uniform("stored", (n, patterns, width))
        want = attended(mha, state, stored)
        by_torch = module(state=torch.from_numpy(state), stored=torch.from_numpy(stored)).detach().numpy()
        for got in (layer(state=state, stored=stored)["x"], by_torch):
            np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())


@pytest.mark.parametrize("updates", [0, 2])
def test_a_bag_of_a_hundred_thousand_items_is_pooled_whole(tmp_path: Path, updates: int) -> None:
    """Nothing is cut in pieces, as nothing needs to be: a learnt state has one score for each item and head, 4 MB here.

    Where a kernel sums one number after another, as ONNX Runtime's does without AVX-512, roundings of float32 walk at random.
    """
    pool, mha, states = beside_attention(tmp_path, "pooling", updates=updates, thresholds=[1e-9] * 8)
    bag = uniform("bag", (1, 131072, 16))
    want = attended(mha, states, bag) if updates == 0 else steps_in_double(mha, states, bag, updates)
    walk = 1e-5 + updates * np.sqrt(bag.shape[1]) * np.finfo(np.float32).eps / 2
    np.testing.assert_allclose(pool(stored=bag)["pooled"], want[:, 0], atol=walk * np.abs(want).max())


def steps_in_double(mha: torch.nn.MultiheadAttention, states: Array, bag: Array, updates: int) -> Array:
    """The rule head by head, xi = softmax(beta xi K^T) K, and the projection of the last associations."""
    weights = {key: value.detach().numpy() for key, value in mha.state_dict().items()}
    parts = zip(np.split(weights["in_proj_weight"], 3), np.split(weights["in_proj_bias"], 3), (states, bag, bag), strict=True)
    xi, k, v = (np.split(x[0].astype(np.float64) @ w.T + b, 8, axis=1) for w, b, x in parts)
    heads = []
    for h in range(8):
        state = xi[h]
        for _ in range(updates + 1):
            scores = state @ k[h].T / np.sqrt(2)
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            state = shares @ k[h]
        heads.append(shares @ v[h])
    found: Array = np.concatenate(heads, axis=1) @ weights["out_proj.weight"].T + weights["out_proj.bias"]
    return found[None]


@pytest.mark.parametrize(("n", "patterns"), [(1, 2), (3, 5), (2, 9)])
def test_a_stored_pattern_is_retrieved_and_stays(tmp_path: Path, n: int, patterns: int) -> None:
    stored = np.sign(uniform("stored", (n, patterns, 16)))  # far apart, so that each is near a fixed point of its own
    found = session(tmp_path, "retrieval")(state=stored + 0.4 * uniform("noise", stored.shape), stored=stored)["x"]
    np.testing.assert_allclose(found, stored, atol=1e-4)
    again = session(tmp_path, "retrieval", updates=1)(state=found, stored=stored)["x"]
    np.testing.assert_allclose(again, found, atol=1e-6)


def test_updates_end_at_a_fixed_point_whose_energy_is_lower(tmp_path: Path) -> None:
    state, stored = uniform("state", (2, 4, 16)), uniform("stored", (2, 6, 16))
    found = session(tmp_path, "retrieval", updates=200, settled=1e-7, betas=[2.0])(state=state, stored=stored)["x"]
    scores = 2.0 * found @ stored.transpose(0, 2, 1)
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(shares @ stored, found, atol=1e-5)
    assert (energy(found, stored) < energy(state, stored)).all()


def energy(xi: Array, stored: Array) -> Array:
    scores = 2.0 * xi @ stored.transpose(0, 2, 1)
    found: Array = -np.log(np.exp(scores).sum(-1)) / 2.0 + (xi**2).sum(-1) / 2
    return found


def test_pooling_does_not_depend_on_the_order_of_the_bag(tmp_path: Path) -> None:
    pool = session(tmp_path, "pooling_masked_steps")
    for size in (2, 5, 9):
        bag = uniform("bag", (1, size, 16))
        whole = pool(stored=bag, mask=np.ones((1, size), bool))["pooled"]
        shuffled = pool(stored=bag[:, ::-1], mask=np.ones((1, size), bool))["pooled"]
        padded = pool(stored=np.concatenate([bag, bag[:, :1]], 1), mask=np.arange(size + 1)[None] < size)["pooled"]
        np.testing.assert_allclose(shuffled, whole, atol=1e-6)
        np.testing.assert_allclose(padded, whole, atol=1e-6)


def test_each_head_has_a_sharpness_of_its_own(tmp_path: Path) -> None:
    """With the first sharp and the others blunt, the first takes its nearest pattern and the others the mean of all."""
    betas = [1e3, *([1e-6] * 7)]
    found = session(tmp_path, "hopfield", betas=betas, **BARE, project="identity", leave="identity")
    state, stored = uniform("state", (1, 3, 16)), uniform("stored", (1, 5, 16))
    x = found(state=state, stored=stored)["x"]
    nearest = (state[0, :, :2] @ stored[0, :, :2].T).argmax(-1)
    np.testing.assert_allclose(x[0, :, :2], stored[0, nearest, :2], atol=1e-4)
    np.testing.assert_allclose(x[0, :, 2:], np.repeat(stored[0, :, 2:].mean(0)[None], 3, 0), atol=1e-4)


def test_each_head_stops_where_it_is_told(tmp_path: Path) -> None:
    """By its limit or by its threshold: with eight of a kind, each head's part is that of a layer where all heads are like it."""
    state, stored = uniform("state", (2, 3, 16)), uniform("stored", (2, 5, 16))
    plain = {**BARE, "project": "identity", "leave": "identity", "betas": [2.0] * 8}
    limits, thresholds = [0, 1, 2, 9, 9, 9, 9, 9], [1e-6, 1e-6, 1e-6, 1e-6, 9.0, 0.1, 0.03, 0.01]
    found = session(tmp_path, "hopfield", limits=limits, thresholds=thresholds, **plain)(state=state, stored=stored)["x"]
    for h, (limit, threshold) in enumerate(zip(limits, thresholds, strict=True)):
        alike = session(tmp_path, "hopfield", updates=limit, settled=threshold, **plain)(state=state, stored=stored)["x"]
        np.testing.assert_allclose(found[..., 2 * h : 2 * h + 2], alike[..., 2 * h : 2 * h + 2], atol=1e-6)
