"""SFNO gives as many steps as are asked for with the same weights: they are one wave in time, read at more or fewer places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence import Record
from fill import Draw, fill

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "operator" / "sfno.yaml"
LATENT = 10
Array = np.ndarray[Any, Any]


def change(variant: str, **config: str) -> Array:
    """From the last step that is read to each that comes out, in all of which the transform divides by their number."""
    layer = lamina.to_torch(lamina.load(SPEC, variant, small=True, modes="[4, 3, 2]", latent=LATENT, **config)).eval()
    layer.load_state_dict({key: torch.from_numpy(fill(key, tuple(value.shape))) for key, value in layer.state_dict().items()})
    field = Draw((1, 64, 64, 10)).array("vorticity")
    with torch.no_grad():
        prediction: Array = layer(torch.from_numpy(field)).numpy()
    return (prediction - field[..., -1:]) * (LATENT + prediction.shape[-1] + 2)


def test_fewer_steps_are_every_other_or_fourth_place(record: Record) -> None:
    """The period has latent + steps + 2 places, of which the last are given: 52 for 40 steps, 26 for 14, 13 for 1."""
    long = change("longer", steps="40")
    assert long.shape == (1, 64, 64, 40)
    for steps, apart in ((14, 2), (1, 4)):
        found, wanted = long[..., -apart * steps :: apart], change("base", steps=str(steps))
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert found.shape == wanted.shape
        assert error < 1e-5
        assert np.abs(long[..., -1] - wanted[..., -1]).max() > 0.01 * np.abs(wanted).max()
    record(SPEC, "longer", "parity", f"{error:.0e} of the one step that is checked against the authors' code, small")
