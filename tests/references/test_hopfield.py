"""The memory's theory, and that one step is attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fill import uniform

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "memory" / "hopfield.yaml"
Array = np.ndarray[Any, Any]


def session(folder: Path, variant: str, **config: Any) -> lamina.Session:
    spec = lamina.load(SPEC, variant=variant, small=True, **config)
    return lamina.Session(lamina.compile(spec, folder / "bundle"))


def test_one_step_without_norms_is_multi_head_attention(tmp_path: Path) -> None:
    module = lamina.to_torch(lamina.load(SPEC, variant="hopfield", small=True, prepare="identity"))
    weights = module.state_dict()
    mha = torch.nn.MultiheadAttention(16, 8, batch_first=True)
    stacked = {f"in_proj_{p}": torch.cat([weights[f"{n}.{p}"] for n in ("query", "key", "value")]) for p in ("weight", "bias")}
    mha.load_state_dict({**stacked, "out_proj.weight": weights["out.weight"], "out_proj.bias": weights["out.bias"]})
    state, stored = torch.from_numpy(uniform("state", (2, 3, 16))), torch.from_numpy(uniform("stored", (2, 5, 16)))
    torch.testing.assert_close(module(state=state, stored=stored), mha(state, stored, stored)[0])


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
    found = session(tmp_path, "hopfield", betas=betas, prepare="identity", project="identity", leave="identity")
    state, stored = uniform("state", (1, 3, 16)), uniform("stored", (1, 5, 16))
    x = found(state=state, stored=stored)["x"]
    nearest = (state[0, :, :2] @ stored[0, :, :2].T).argmax(-1)
    np.testing.assert_allclose(x[0, :, :2], stored[0, nearest, :2], atol=1e-4)
    np.testing.assert_allclose(x[0, :, 2:], np.repeat(stored[0, :, 2:].mean(0)[None], 3, 0), atol=1e-4)
