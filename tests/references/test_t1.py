"""T1 gives the function, or its spectrum for a loss that is taken there: one thing, at any size, with or without high modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fill import Draw, fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPECS = Path(__file__).parents[2] / "specs" / "operator"
Array = np.ndarray[Any, Any]


def cosines(size: int) -> Array:
    """The orthonormal transform of type 2, [frequency, place]."""
    waves = np.cos(np.pi / size * np.outer(np.arange(size), np.arange(size) + 0.5)) * np.sqrt(2 / size)
    return waves / np.where(np.arange(size) == 0, np.sqrt(2), 1)[:, None]


@pytest.mark.parametrize("keep_high", ["false", "true"])
@pytest.mark.parametrize(("name", "sizes"), [("t1_1d", [(16,), (45,), (128,)]), ("t1_2d", [(64, 64), (64, 75), (81, 70)])])
def test_the_spectrum_is_that_of_the_function(name: str, sizes: list[tuple[int, ...]], keep_high: str, tmp_path: Path) -> None:
    specs = {
        inverse: lamina.load(SPECS / f"{name}.yaml", small=True, inverse=inverse, keep_high=keep_high) for inverse in ("true", "false")
    }
    state = {p.name: fill(p.name, tuple(map(int, p.shape))) for p in elaborate(specs["true"]).graph.parameters()}
    save_file(state, tmp_path / "weights.safetensors")
    function, spectrum = (
        lamina.Session(lamina.compile(spec, tmp_path / inverse, weights=tmp_path / "weights.safetensors"))
        for inverse, spec in specs.items()
    )
    for shape in sizes:
        field = Draw((2, 1, *shape)).array("field")
        want: Array = function(field=field)["solution"].astype(np.float64)
        for axis, size in enumerate(shape):
            want = np.moveaxis(np.tensordot(cosines(size), want, (1, axis + 2)), 0, axis + 2)
        found = spectrum(field=field)["solution"]
        np.testing.assert_allclose(found, want, atol=2e-5 * np.abs(want).max())
        high = found[:, :, 5:]
        assert bool(high.any()) == (keep_high == "true")
