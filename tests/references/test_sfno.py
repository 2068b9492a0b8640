"""SFNO gives as many steps as are asked for with the same weights: they are one wave in time, read at more or fewer places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence import Record
from fill import Draw, fill

import lamina
from lamina.compiler.targets.torch import LaminaModule

SPEC = Path(__file__).parents[2] / "specs" / "operator" / "sfno.yaml"
LATENT = 10
Array = np.ndarray[Any, Any]


def network(**config: object) -> LaminaModule:
    return lamina.to_torch(lamina.load(SPEC, "mcwilliams", small=True, **{"modes": [4, 3, 2]} | config)).eval()


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
    long = change("fnodata", steps="40", growth="-0.01")
    assert long.shape == (1, 64, 64, 40)
    for steps, apart in ((14, 2), (1, 4)):
        found, wanted = long[..., -apart * steps :: apart], change("mcwilliams", steps=str(steps))
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert found.shape == wanted.shape
        assert error < 1e-5
        assert np.abs(long[..., -1] - wanted[..., -1]).max() > 0.01 * np.abs(wanted).max()
    record(SPEC, "fnodata", "parity", f"{error:.0e} of the one step that is checked against the authors' code, small")


def test_the_last_layer_may_keep_more_modes() -> None:
    """As it is tuned: its old weights where they were, and zeros beside them, change nothing; another weight does."""
    small, large = (network(last_modes=modes) for modes in ("[4, 3, 2]", "[32, 32, 6]"))
    state = {key: torch.from_numpy(fill(key, tuple(value.shape))) for key, value in small.state_dict().items()}
    small.load_state_dict(state)
    grown = {key: torch.zeros_like(value) for key, value in large.state_dict().items()}
    for key, value in state.items():
        if not key.startswith("last."):
            grown[key] = value
            continue
        x = slice(0, 4) if key.endswith((".0", ".2")) else slice(-4, None)
        y = slice(0, 3) if key.endswith((".0", ".1")) else slice(-3, None)
        grown[key][..., x, y, :2, :] = value
    large.load_state_dict(grown)
    field = torch.from_numpy(Draw((1, 64, 64, 10)).array("vorticity"))
    with torch.no_grad():
        torch.testing.assert_close(large(field), small(field))
        large.get_parameter("last.weight.3").data[..., 0, 0, 3, 0] = 100
        assert (large(field) - small(field)).abs().max() > 1e-3


def test_more_hidden_steps_than_are_read() -> None:
    field = torch.from_numpy(Draw((1, 64, 64, 10)).array("vorticity"))
    with torch.no_grad():
        assert network(latent=20)(field).shape == (1, 64, 64, 2)
