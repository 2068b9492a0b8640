"""SFNO gives as many steps as are asked for with the same weights: they are one wave in time, read at more or fewer places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fill import Draw, fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "operator" / "sfno.yaml"
LATENT, STEPS = 8, 3
Array = np.ndarray[Any, Any]


def test_twice_the_places_hold_every_other_one(tmp_path: Path) -> None:
    """The period has latent + steps + 2 places, of which the last are given; the inverse transform divides by their number."""
    many = 2 * (LATENT + STEPS + 2) - LATENT - 2
    changes = []
    field = Draw((1, 64, 64, 10)).array("vorticity")
    for count in (STEPS, many):
        spec = lamina.load(SPEC, small=True, steps=count, latent=LATENT)
        state = {p.name: fill(p.name, tuple(map(int, p.shape))) for p in elaborate(spec).graph.parameters()}
        save_file(state, tmp_path / "weights.safetensors")
        session = lamina.Session(lamina.compile(spec, tmp_path / f"of_{count}", weights=tmp_path / "weights.safetensors"))
        prediction: Array = session(vorticity=field)["prediction"]
        assert prediction.shape == (1, 64, 64, count)
        changes.append(prediction - field[..., -1:])
    few, more = changes
    np.testing.assert_allclose(2 * more[..., -2 * STEPS :: 2], few, atol=1e-5 * np.abs(few).max() + 1e-6)
    assert np.abs(few).max() > 0.1
