"""Moirai-MoE forecasts patch after patch; and of its published sizes the parts that one token uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fill import Scale, fill, uniform
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "series" / "moirai_moe.yaml"
Array = np.ndarray[Any, Any]


def compiled(folder: Path) -> lamina.Session:
    spec = lamina.load(SPEC, "small", small=True)
    scales = (Scale("*.centroid", 0, 0.1), Scale("log_normal_*.weight", 0, 0.05), Scale("binomial_*.weight", 0, 0.05))
    weights = {k: np.asarray(fill(k, tuple(v.shape), scales)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    return lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))


def mean(found: dict[str, Array]) -> Array:
    """Of the mixture, [N, T, patch], in the units of the series."""
    log_normal = np.exp(found["log_normal_loc"] + found["log_normal_scale"] ** 2 / 2)
    means = [found["t_loc"], found["normal_loc"], found["binomial_count"] * np.exp(found["binomial_logits"]), log_normal]
    loc, scale = np.split(found["units"], 2, axis=-1)
    scaled: Array = loc + scale * sum(found["shares"][..., i] * m for i, m in enumerate(means))
    return scaled


def feeds(target: Array, context: int) -> dict[str, Array]:
    """One series, whose patches from `context` on are to be forecast."""
    length = target.shape[1]
    ones = np.ones((1, length), np.int64)
    return {
        "target": target, "observed_mask": np.ones(target.shape, bool), "sample_id": ones, "variate_id": ones,
        "time_id": np.arange(length)[None], "prediction_mask": np.arange(length)[None] >= context,
    }  # fmt: skip


def test_patches_are_forecast_one_after_the_other(tmp_path: Path) -> None:
    """Each from those before, among them forecasts: the whole, read again, says of each what it was."""
    session, target, context = compiled(tmp_path), uniform("series", (1, 6, 4)), 6
    for _ in range(3):
        step = mean(session(**feeds(target, context)))[:, -1:]
        target = np.concatenate([target, step.astype(np.float32)], axis=1)
    again = mean(session(**feeds(target, context)))
    np.testing.assert_allclose(again[:, context - 1 : -1], target[:, context:], atol=1e-5 * np.abs(target).max())
    assert 1e-3 < np.abs(np.diff(target[:, context:], axis=1)).max() < 100


@pytest.mark.parametrize(("variant", "published"), [("small", 11), ("base", 86)])
def test_active_parameters(variant: str, published: int) -> None:
    """Of 32 experts a token uses two."""
    parameters = elaborate(lamina.load(SPEC, variant)).graph.parameters()
    sizes = {p.name: int(np.prod(p.shape)) * (2 / 32 if ".experts." in p.name else 1) for p in parameters if "centroid" not in p.name}
    assert round(sum(sizes.values()) / 1e6) == published
