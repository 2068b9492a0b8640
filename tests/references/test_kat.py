"""The learned rational: where it starts, its closed form, and as the mlp of a transformer that knows nothing of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import uniform

import lamina

SPECS = Path(__file__).parents[2] / "specs"
ACTIVATION = """
lamina: 1
model: activation
use: [functions]
inputs: {x: "float32[N, T, 16]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 3, max: 64}}
body: [{ACT: {}, name: act}]
outputs: {y: "float32[N, T, 16]"}
"""
STARTS = {
    "rational": (lambda x: x, 0.0),
    "rational_silu": (lambda x: x / (1 + np.exp(-x)), 1e-4),
    "rational_gelu": (lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2, 5e-3),
}


def module_of(act: str, folder: Path) -> torch.nn.Module:
    (folder / "model.yaml").write_text(ACTIVATION.replace("ACT", act), encoding="utf-8")
    return lamina.to_torch(lamina.load(folder / "model.yaml")).eval()


@pytest.mark.parametrize("act", list(STARTS))
def test_starts_as_its_activation_on_what_it_was_fitted_to(act: str, tmp_path: Path) -> None:
    function, bound = STARTS[act]
    x = 3 * uniform("x", (2, 64, 16))
    with torch.inference_mode():
        found = module_of(act, tmp_path)(torch.from_numpy(x)).numpy()
    assert np.abs(found - function(x.astype(np.float64))).max() <= bound


def test_is_one_numerator_over_a_denominator_for_each_group(tmp_path: Path) -> None:
    """As the paper's equation has it, in NumPy and float64."""
    module = module_of("rational", tmp_path)
    a, b = uniform("a", (6,)), uniform("b", (8, 4))
    module.load_state_dict({"act.numerator": torch.from_numpy(a), "act.denominator": torch.from_numpy(b)})
    x = 2 * uniform("x", (2, 5, 16))
    wide, shares = x.astype(np.float64), np.repeat(np.abs(b).astype(np.float64), 2, axis=0)
    want = np.polynomial.polynomial.polyval(wide, a.astype(np.float64)) / (
        1 + sum(shares[:, i] * np.abs(wide) ** (i + 1) for i in range(4))
    )
    with torch.inference_mode():
        np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), want, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("spec", "use"), [("vision/vit", "image"), ("embedding/minilm", "ffn")])
def test_is_the_mlp_of_any_transformer(spec: str, use: str, tmp_path: Path) -> None:
    """One word of its file changes."""
    text = (SPECS / f"{spec}.yaml").read_text(encoding="utf-8")
    path = tmp_path / "model.yaml"
    path.write_text(text.replace("{mlp: ", "{rational_mlp: ").replace(f"{use}]", f"{use}, functions]"), encoding="utf-8")
    rationals = [n for n, _ in lamina.to_torch(lamina.load(path, small=True)).named_parameters() if n.endswith("numerator")]
    assert len(rationals) == 2 * 2, rationals  # layers, and rationals in each
