"""What lets a column be computed backwards: no factor of the column before is nearer to zero than a thousandth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fill import uniform
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "revcol.yaml"


def test_factors_stay_away_from_zero(tmp_path: Path) -> None:
    spec = lamina.load(SPEC, small=True)
    spec = spec.model_copy(update={"weights": None})
    weights = {p.name: uniform(p.name, p.shape) for p in elaborate(spec).graph.parameters()}
    names = [name for name in weights if name.endswith("alpha")]
    assert len(names) == 8  # four levels of the second and third column

    def logits(alpha: float) -> np.ndarray:
        signed = {name: np.where(weights[name] < 0, -alpha, alpha).astype(np.float32) for name in names}
        save_file(weights | signed, tmp_path / "w.safetensors")
        return lamina.Session(lamina.compile(spec, tmp_path / str(alpha), weights=tmp_path / "w.safetensors"))(image=image)["logits"]

    image = uniform("image", (1, 3, 64, 32))
    least = logits(1e-3)
    np.testing.assert_array_equal(logits(2e-4), least)
    assert np.abs(logits(2e-1) - least).max() > 1e-3 * np.abs(least).max()
