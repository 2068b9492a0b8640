"""The choice of a basis: each against NumPy, how nodes weigh them, and what is left once every node has chosen."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evidence import Record
from fill import Array, uniform
from safetensors.torch import save_file

import lamina

LAYER = Path(__file__).parents[2] / "specs" / "layer"
SPECS = (LAYER / "s_kan.yaml", LAYER / "s_convkan.yaml")


def silu(x: Array, own: dict[str, Array]) -> Array:
    return (x / (1 + np.exp(-x)))[..., None]


def b_spline(x: Array, own: dict[str, Array]) -> Array:
    """Cubics on knots 0.4 apart from -2.2, as the fourth differences of truncated powers."""
    u = (x[..., None] + 2.2) / 0.4 - np.arange(8)
    return sum((-1) ** k * math.comb(4, k) * np.maximum(u - k, 0) ** 3 for k in range(5)) / 6


def fourier(x: Array, own: dict[str, Array]) -> Array:
    return np.stack([f(k * x) for f in (np.cos, np.sin) for k in range(1, 5)], -1)


def gaussian(x: Array, own: dict[str, Array]) -> Array:
    return np.stack([np.exp(-(((x - c) / (4 / 7)) ** 2)) for c in np.linspace(-2, 2, 8)], -1)


def wavelet(x: Array, own: dict[str, Array]) -> Array:
    z = (x[..., None] - own["centre"]) / own["width"]
    return (1 - z**2) * np.exp(-(z**2) / 2)


def chebyshev(x: Array, own: dict[str, Array]) -> Array:
    """cos(n arccos(tanh x))."""
    return np.stack([np.cos(n * np.arccos(np.tanh(x))) for n in range(5)], -1)


BASES = (silu, b_spline, fourier, gaussian, wavelet, chebyshev)


def layer(x: Array, state: dict[str, Array], selection: str) -> Array:
    """y_j = sum over i and m of s_mj phi_m(x_i; theta_mij), written as the paper's sum."""
    terms = []
    for m, basis in enumerate(BASES):
        own = {k.rpartition(".")[2]: v for k, v in state.items() if k.startswith(f"bases.{m}.")}
        terms.append(np.einsum("nik,jik->nj", f := basis(x, own), own["weight"].reshape(-1, *f.shape[1:])))
    if selection == "all":
        return sum(terms)
    score = state["selection"]
    soft = np.exp(score) / np.exp(score).sum(0)
    shares = soft if selection == "soft" else (score == score.max(0)).astype(float)
    return sum(s * t for s, t in zip(shares, terms, strict=True))


def network(x: Array, state: dict[str, Array], selection: str) -> Array:
    """The layers one after the other; of an image, on each window of 3 x 3 at every second place, and then their mean and the head."""
    for i in range(2):
        own = {k.split(".kan.")[1]: v for k, v in state.items() if k.startswith(f"layers.{i}.")}
        x = layer(x, own, selection) if x.ndim == 2 else convolution(x, own, selection)
    return x if x.ndim == 2 else x.mean((2, 3)) @ state["head.weight"].T + state["head.bias"]


def convolution(x: Array, own: dict[str, Array], selection: str) -> Array:
    n, _, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = [layer(padded[:, :, i : i + 3, j : j + 3].reshape(n, -1), own, selection) for i, j in product(range(0, h, 2), range(0, w, 2))]
    return np.stack(windows, -1).reshape(n, -1, h // 2, w // 2)


def inputs_of(path: Path, *, small: bool = False) -> dict[str, Array]:
    """Over all of the splines' grid, and beyond its ends."""
    name, shape = ("x", (40, 5 if small else 784)) if path == SPECS[0] else ("image", (2, 2 if small else 3, 8, 12))
    return {name: (2.4 * uniform(name, shape)).astype(np.float32)}


def state_of(path: Path, **config: Any) -> dict[str, torch.Tensor]:
    """A checkpoint, with widths that differ and scores far enough apart that no rounding decides a choice."""
    state = lamina.to_torch(lamina.load(path, **config)).state_dict()
    for name, value in state.items():
        drawn = torch.from_numpy(uniform(name, tuple(value.shape)))
        state[name] = 3 * drawn if name.endswith("selection") else 1 + drawn / 4 if name.endswith("width") else value
    return state


@pytest.mark.parametrize(("variant", "selection"), [("full", "all"), ("soft", "soft"), ("hard", "hard")])
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_is_the_sum_over_edges_and_bases(path: Path, variant: str, selection: str, tmp_path: Path, record: Record) -> None:
    state = state_of(path, variant=variant)
    save_file(state, tmp_path / "state.safetensors")
    spec = lamina.load(path, variant=variant)
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "state.safetensors"))
    feeds = inputs_of(path)
    (got,) = session(**feeds).values()
    (x,) = feeds.values()
    want = network(x.astype(np.float64), {k: v.double().numpy() for k, v in state.items()}, selection)
    worst = float(np.abs(got - want).max() / np.abs(want).max())
    assert worst <= 1e-5
    record(path, variant, "parity", f"{worst:.0e} of the sum over edges in NumPy")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_choice_drops_the_other_bases_and_changes_nothing(path: Path, tmp_path: Path, record: Record) -> None:
    """From the checkpoint of the unpruned network: fewer nodes, fewer weights, the same numbers."""
    state = state_of(path, small=True, selection="hard")
    scores = [v for k, v in state.items() if k.endswith("selection")]
    choice = [score.argmax(0).tolist() for score in scores]
    assert any(len(set(nodes)) < len(BASES) for nodes in choice)  # some basis is dropped whole
    save_file(state, tmp_path / "all.safetensors")
    bundles = {
        name: lamina.compile(lamina.load(path, small=True, **config), tmp_path / name, weights=tmp_path / "all.safetensors")
        for name, config in {"hard": {"selection": "hard"}, "chosen": {"choice": choice}}.items()
    }
    outputs = [next(iter(lamina.Session(bundle)(**inputs_of(path, small=True)).values())) for bundle in bundles.values()]
    worst = float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max())
    assert worst <= 1e-6
    kept = [(bundle / "weights.bin").stat().st_size for bundle in bundles.values()]
    assert kept[1] < kept[0] / 3
    record(path, "chosen", "parity", f"{worst:.0e} of the network with every basis, and the sum over edges in NumPy")
