"""The reconciliation heads, which no public port has: held to loops over steps and patches, as the paper words them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evidence import Record
from fill import uniform
from safetensors.numpy import load_file, save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "series" / "patchtsmixer.yaml"
Array = np.ndarray


def forecasts(folder: Path, variant: str, past: Array) -> tuple[Array, dict[str, Array]]:
    """What a variant forecasts with weights that follow from their names, and the weights."""
    spec = lamina.load(SPEC, variant=variant, small=True)
    weights = {p.name: uniform(p.name, p.shape) for p in elaborate(spec).graph.parameters()}
    save_file(weights, folder / f"{variant}.safetensors")
    session = lamina.Session(lamina.compile(spec, folder / variant, weights=folder / f"{variant}.safetensors"))
    return session(past=past)["forecast"].astype(np.float64), load_file(folder / f"{variant}.safetensors")


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def across_channels(forecast: Array, w: dict[str, Array], steps: int = 2) -> Array:
    """Each step: all channels, `steps` before to `steps` after it (zero beyond the ends), gated, one linear, plus itself."""
    revised = forecast.copy()
    for n, t in np.ndindex(len(forecast), forecast.shape[1]):
        around = range(t - steps, t + steps + 1)
        values = np.concatenate(
            [[forecast[n, s, c] if 0 <= s < forecast.shape[1] else 0 for s in around] for c in range(forecast.shape[2])]
        )
        values = values * softmax(
            w["cross_channel.gating_block.attn_layer.weight"] @ values + w["cross_channel.gating_block.attn_layer.bias"]
        )
        revised[n, t] += w["cross_channel.fc.weight"] @ values + w["cross_channel.fc.bias"]
    return revised


def across_levels(forecast: Array, w: dict[str, Array], patch: int = 6) -> Array:
    """Each patch of a channel: its steps and the forecast of its aggregate, one linear, plus itself."""
    revised = forecast.copy()
    for n, c in np.ndindex(len(forecast), forecast.shape[2]):
        aggregates = w["hierarchical.aggregate.weight"] @ forecast[n, :, c] + w["hierarchical.aggregate.bias"]
        for m, aggregate in enumerate(aggregates):
            at = slice(m * patch, (m + 1) * patch)
            values = np.append(forecast[n, at, c], aggregate)
            revised[n, at, c] += w["hierarchical.fc.weight"] @ values + w["hierarchical.fc.bias"]
    return revised


@pytest.mark.parametrize(
    ("variant", "heads"),
    {
        "common_channel_cc": [across_channels],
        "common_channel_h": [across_levels],
        "common_channel_cc_h": [across_channels, across_levels],
        "mix_channel_cc": [across_channels],
        "mix_channel_cc_h": [across_channels, across_levels],
    }.items(),
)
def test_heads(tmp_path: Path, variant: str, heads: list, record: Record) -> None:
    past = 2 * uniform("past", (2, 26, 7)) + np.float32(1)
    base, _ = forecasts(tmp_path, variant.split("_channel")[0] + "_channel", past)
    got, weights = forecasts(tmp_path, variant, past)
    center, scale = past.mean(1, keepdims=True), np.sqrt(past.var(1, keepdims=True) + 1e-5)  # the heads see the scaled forecast
    want = (base - center) / scale
    for head in heads:
        want = head(want, weights)
    want = want * scale + center
    assert np.abs(want - base).max() > 0.1
    error = np.abs(got - want).max() / np.abs(want).max()
    assert error <= 1e-5
    record(SPEC, variant, "parity", f"{error:.0e} of loops over its heads, small")


def test_a_channel_stays_apart_without_channel_mixing(tmp_path: Path) -> None:
    """In the common-channel mode the forecast of one channel does not see the others; in the other mode it does."""
    past = uniform("past", (1, 26, 7))
    changed = past.copy()
    changed[:, :, 6] = uniform("other", (1, 26))
    for variant, apart in {"common_channel": True, "mix_channel": False}.items():
        one, other = (forecasts(tmp_path / str(i), variant, x)[0] for i, x in enumerate(folders(tmp_path, past, changed)))
        assert np.array_equal(one[..., :6], other[..., :6]) == apart


def folders(root: Path, *arrays: Array) -> tuple[Array, ...]:
    for i in range(len(arrays)):
        (root / str(i)).mkdir(exist_ok=True)
    return arrays


@pytest.mark.parametrize("variant", ["common_channel", "common_channel_h", "common_channel_ungated"])
def test_one_file_takes_any_number_of_channels(tmp_path: Path, variant: str) -> None:
    session = lamina.Session(lamina.compile(lamina.load(SPEC, variant=variant, small=True), tmp_path / "bundle"))
    past = uniform("past", (2, 26, 9))
    whole = session(past=past)["forecast"]
    for channels in (1, 2, 5):
        np.testing.assert_allclose(session(past=past[..., :channels])["forecast"], whole[..., :channels], atol=1e-6)
