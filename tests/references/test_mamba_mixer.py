"""ViM2 and TSM2 in NumPy's float64, one step of a scan after the other, every direction as an order in which places are visited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file

import lamina

SPECS = Path(__file__).parents[2] / "specs"
VIM2, TSM2 = SPECS / "vision" / "vim2.yaml", SPECS / "series" / "tsm2.yaml"
Array = np.ndarray[Any, Any]
Order = list[int]


class Weights:
    """The weights below one path."""

    def __init__(self, found: dict[str, Array], path: str = "") -> None:
        self.found, self.path = found, path

    def at(self, name: str | int) -> Weights:
        return Weights(self.found, f"{self.path}{name}.")

    def __getitem__(self, name: str) -> Array:
        return self.found[self.path + name]

    def affine(self, x: Array, name: str) -> Array:
        y: Array = x @ self[f"{name}.weight"].T
        bias = self.found.get(f"{self.path}{name}.bias")
        return y if bias is None else y + bias

    def normed(self, x: Array, name: str) -> Array:
        y: Array = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return y * self[f"{name}.weight"] + self[f"{name}.bias"]


def silu(x: Array) -> Array:
    y: Array = x / (1 + np.exp(-x))
    return y


def visited(x: Array, order: Order, w: Weights) -> Array:
    """S6 of [places, channels] over the places in this order: h = exp(dt a) h + dt b u, y = c h + d u."""
    rates, states = -np.exp(w["A_log"]), w["A_log"].shape[1]
    y, h = np.zeros_like(x), np.zeros_like(rates)
    for place in order:
        u = x[place]
        low, b, c = np.split(w["x_proj.weight"] @ u, [-2 * states, -states])
        dt = np.log1p(np.exp(w.affine(low, "dt_proj")))[:, None]
        h = np.exp(dt * rates) * h + dt * b * u[:, None]
        y[place] = h @ c + w["D"] * u
    return y


def both_ways(x: Array, order: Order, w: Weights) -> Array:
    return visited(x, order, w.at("forward")) + visited(x, order[::-1], w.at("backward"))


def convolved(x: Array, w: Weights, before: int) -> Array:
    """Every channel of [places, channels] by itself, the kernel's first weight `before` places back."""
    kernel = w["conv.weight"][:, 0]
    y = np.zeros_like(x)
    for place in range(len(x)):
        for j in range(kernel.shape[1]):
            if 0 <= place + j - before < len(x):
                y[place] += kernel[:, j] * x[place + j - before]
    return y + w["conv.bias"]


def convolved_image(x: Array, w: Weights) -> Array:
    height, width, _ = x.shape
    kernel = w["conv.weight"][:, 0]
    y = np.zeros_like(x)
    for i, j, di, dj in np.ndindex(height, width, 3, 3):
        if 0 <= i + di - 1 < height and 0 <= j + dj - 1 < width:
            y[i, j] += kernel[:, di, dj] * x[i + di - 1, j + dj - 1]
    return y + w["conv.bias"]


def patches(x: Array, side: int, w: Weights, name: str) -> Array:
    """A convolution of an image [H, W, C] whose stride is its kernel's side."""
    height, width, channels = x.shape
    cut = x.reshape(height // side, side, width // side, side, channels).transpose(0, 2, 4, 1, 3)
    y: Array = np.einsum("hwcij,ocij->hwo", cut, w[f"{name}.weight"])
    return y + w[f"{name}.bias"]


def layers(x: Array, w: Weights, depth: int, mix_tokens: Any, mix_channels: Any) -> Array:
    """What each mixer reads is the sum of what stood before and of all earlier outputs, each times its number: tokens' first."""
    tokens, channels = [x], [x]
    for i in range(depth):
        layer = w.at("layers").at(i)
        for k, (mixer, own) in enumerate(((mix_tokens, tokens), (mix_channels, channels)), start=1):
            shares = layer[f"average{k}.weight"]
            assert len(shares) == len(tokens) + len(channels)
            read = sum(share * y for share, y in zip(shares, tokens + channels, strict=True))
            own.append(mixer(layer.normed(read, f"norm{k}"), layer.at("mix_tokens" if k == 1 else "mix_channels")))
    return channels[-1]


def gate_of(x: Array, w: Weights) -> tuple[Array, Array]:
    value, gate = np.split(w.affine(x, "in_proj"), 2, axis=-1)
    return value, silu(gate)


def over_image(x: Array, w: Weights) -> Array:
    value, gate = gate_of(x, w)
    y = silu(convolved_image(value, w))
    height, width, channels = y.shape
    rows = [i * width + j for i in range(height) for j in range(width)]
    columns = [i * width + j for j in range(width) for i in range(height)]
    flat, scan = y.reshape(-1, channels), w.at("mix").at("scan")
    y = both_ways(flat, rows, scan.at("rows")) + both_ways(flat, columns, scan.at("columns"))
    return w.affine(y.reshape(value.shape) * gate, "out_proj")


def over_channels(x: Array, w: Weights) -> Array:
    value, gate = gate_of(x, w)
    flat = silu(convolved_image(value, w)).reshape(-1, value.shape[2])
    y = both_ways(flat.T, list(range(flat.shape[1])), w.at("mix").at("scan")).T
    return w.affine(y.reshape(value.shape) * gate, "out_proj")


def vim2(image: Array, w: Weights, depths: list[int]) -> Array:
    x = w.normed(patches(image.transpose(1, 2, 0), 4, w, "stem"), "stem_norm")
    for i, depth in enumerate(depths):
        stage = w.at("stages").at(i)
        if i > 0:
            x = stage.normed(patches(x, 2, stage, "downsample"), "norm")
        x = layers(x, stage.at("mixers"), depth, over_image, over_channels)
    return w.affine(w.normed(x.mean((0, 1)), "norm"), "head")


def over_time(x: Array, w: Weights) -> Array:
    w = w.at("mixer")
    value, gate = gate_of(x, w)
    features = w.at("features")
    y = silu(convolved(value, features, features["conv.weight"].shape[2] - 1))
    return w.affine(visited(y, list(range(len(y))), w.at("mix").at("scan")) * gate, "out_proj")


def over_variates(x: Array, w: Weights) -> Array:
    w = w.at("mixer")
    value, gate = gate_of(x.T, w)
    y = both_ways(silu(convolved(value, w.at("features"), 1)), list(range(len(value))), w.at("mix").at("scan"))
    return w.affine(y * gate, "out_proj").T


def tsm2(past: Array, w: Weights) -> Array:
    return w.affine(layers(past, w.at("mixers"), 2, over_time, over_variates).T, "head").T


def compiled(path: Path, variant: str | None, folder: Path) -> tuple[lamina.Session, Weights]:
    spec = lamina.load(path, variant, small=True)
    weights = {k: fill(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))
    return session, Weights({k: v.astype(np.float64) for k, v in weights.items()})


def test_vim2(tmp_path: Path, record: Record) -> None:
    session, weights = compiled(VIM2, "tiny", tmp_path)
    image = 2 * uniform("image", (2, 3, 64, 64))
    wanted = np.stack([vim2(x.astype(np.float64), weights, [2, 1, 1, 1]) for x in image])
    worst = float(np.abs(session(image=image)["logits"] - wanted).max() / np.abs(wanted).max())
    assert worst < 1e-5
    record(VIM2, "tiny", "parity", f"{worst:.0e} of a scan place by place in NumPy, small")


@pytest.mark.parametrize("variant", lamina.load(TSM2).variants)
def test_tsm2(variant: str, tmp_path: Path, record: Record) -> None:
    session, weights = compiled(TSM2, variant, tmp_path)
    past = 2 * uniform("past", (3, 12, 5))
    wanted = np.stack([tsm2(x.astype(np.float64), weights) for x in past])
    worst = float(np.abs(session(past=past)["forecast"] - wanted).max() / np.abs(wanted).max())
    assert worst < 1e-5
    record(TSM2, variant, "parity", f"{worst:.0e} of a scan step by step in NumPy, small")


def test_every_average_matters(tmp_path: Path) -> None:
    """Each number before each mixer but the first, which reads what stands before twice and is normalised: the output follows all."""
    _, weights = compiled(TSM2, "ett", tmp_path)
    past = 2 * uniform("past", (12, 5)).astype(np.float64)
    before = tsm2(past, weights)
    for name, shares in weights.found.items():
        if ".average" in name and name != "mixers.layers.0.average1.weight":
            for i in range(len(shares)):
                moved = shares + 0.5 * np.eye(len(shares))[i]
                changed = tsm2(past, Weights(weights.found | {name: moved}))
                assert np.abs(changed - before).max() > 1e-5, (name, i)
