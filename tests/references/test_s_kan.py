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


def module_of(path: Path, **config: Any) -> torch.nn.Module:
    """With scores far enough apart that no rounding decides a choice."""
    module = lamina.to_torch(lamina.load(path, small=True, **config)).eval()
    for name, weight in module.state_dict().items():
        if name.endswith("selection"):
            weight.copy_(torch.from_numpy(3 * uniform(name, tuple(weight.shape))))
    return module


def state_of(module: torch.nn.Module, i: int) -> dict[str, Array]:
    """The i-th layer's weights, by their names in it."""
    found = {k: v.double().numpy() for k, v in module.state_dict().items() if k.startswith(f"layers.{i}.")}
    return {k.split(".kan.")[1]: v for k, v in found.items()}


@pytest.mark.parametrize("selection", ["all", "soft", "hard"])
def test_is_the_sum_over_edges_and_bases(selection: str) -> None:
    module = module_of(SPECS[0], selection=selection)
    x = (2.4 * uniform("x", (40, 5))).astype(np.float32)
    want = layer(layer(x.astype(np.float64), state_of(module, 0), selection), state_of(module, 1), selection)
    with torch.inference_mode():
        got = module(torch.from_numpy(x)).numpy()
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_a_convolution_is_the_layer_on_every_window() -> None:
    module = module_of(SPECS[1], widths="[2, 5]", stride=1)
    image = uniform("image", (2, 2, 4, 8)).astype(np.float64)
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = [padded[:, :, i : i + 3, j : j + 3].reshape(2, -1) for i, j in product(range(4), range(8))]
    pooled = np.mean([layer(window, state_of(module, 0), "soft") for window in windows], axis=0)
    want = pooled @ module.state_dict()["head.weight"].double().numpy().T + module.state_dict()["head.bias"].double().numpy()
    with torch.inference_mode():
        got = module(torch.from_numpy(image.astype(np.float32))).numpy()
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_choice_drops_the_other_bases_and_changes_nothing(path: Path, tmp_path: Path, record: Record) -> None:
    """From the checkpoint of the unpruned network: fewer nodes, fewer weights, the same numbers."""
    module = module_of(path, selection="hard")
    scores = [v for k, v in module.state_dict().items() if k.endswith("selection")]
    choice = [score.argmax(0).tolist() for score in scores]
    assert any(len(set(nodes)) < len(BASES) for nodes in choice)  # some basis is dropped whole
    save_file(module.state_dict(), tmp_path / "all.safetensors")
    bundles = {
        name: lamina.compile(lamina.load(path, small=True, **config), tmp_path / name, weights=tmp_path / "all.safetensors")
        for name, config in {"hard": {"selection": "hard"}, "chosen": {"choice": choice}}.items()
    }
    shape = (7, 5) if path == SPECS[0] else (2, 2, 8, 12)
    x = (1.5 * uniform("x", shape)).astype(np.float32)
    outputs = [next(iter(lamina.Session(bundle)(**{"x" if path == SPECS[0] else "image": x}).values())) for bundle in bundles.values()]
    worst = float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max())
    assert worst <= 1e-6
    kept = [(bundle / "weights.bin").stat().st_size for bundle in bundles.values()]
    assert kept[1] < kept[0] / 3
    record(path, "chosen", "parity", f"{worst:.0e} of the network with every basis, and the sum over edges in NumPy")
