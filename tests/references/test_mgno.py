"""What a multigrid V-cycle is, whatever its weights: linear on any grid, and closed where the domain is periodic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "operator" / "mgno.yaml"
GRIDS = ((32, 32), (4, 92), (100, 36))  # three: multiples of four


def cycle(folder: Path, boundary: str, **config: object) -> lamina.Session:
    """One V-cycle, and the projection to one channel, which is linear too."""
    spec = lamina.load(SPEC, small=True, boundary=boundary, layers=1, act="identity", pointwise=False, **config)
    return lamina.Session(lamina.compile(spec, folder / "bundle"))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("boundary", ["zeros", "circular"])
def test_it_is_linear_on_every_grid(boundary: str, residual: bool, tmp_path: Path) -> None:
    session = cycle(tmp_path, boundary, restrict_residual=residual)
    rng = np.random.default_rng(0)
    for rows, columns in GRIDS:
        f, g = rng.standard_normal((2, 1, 1, rows, columns), dtype=np.float32)
        of_sum = session(field=3 * f - 2 * g)["solution"]
        sum_of = 3 * session(field=f)["solution"] - 2 * session(field=g)["solution"]
        assert np.abs(of_sum - sum_of).max() <= 1e-5 * np.abs(sum_of).max()


@pytest.mark.parametrize(("boundary", "meets"), [("circular", True), ("zeros", False)])
def test_only_on_a_periodic_domain_do_opposite_corners_meet(boundary: str, meets: bool, tmp_path: Path) -> None:
    field = np.zeros((1, 1, 64, 96), np.float32)
    field[0, 0, 0, 0] = 1
    solution = cycle(tmp_path, boundary)(field=field)["solution"][0, 0]
    assert solution[0, 0] != 0
    assert (solution[-1, -1] != 0) == meets
