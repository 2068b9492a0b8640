"""The budgeted choice of a precision for each layer, against every choice there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lamina.choice import Problem, nearest, smallest


def drawn(seed: int, layers: int = 6) -> Problem:
    """Three options a layer, whose errors lean the same way, against each other, or neither."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(20, 400, layers)
    sizes = np.concatenate([numbers * bits for bits in (8, 2, 1)])
    common = rng.standard_normal(10) * rng.choice([-1, 0, 1])
    vectors = np.stack([(rng.standard_normal(10) + common) * rng.uniform(0.1, 1) for _ in range(layers)])
    vectors = np.concatenate([0 * vectors, 0.1 * vectors + 0.02 * rng.standard_normal(vectors.shape), vectors])
    return Problem(tuple((i, layers + i, 2 * layers + i) for i in range(layers)), sizes, vectors @ vectors.T)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_is_allowed_is_better(seed: int) -> None:
    problem = drawn(seed)
    every = [(problem.error(c), problem.size(c)) for c in product(*problem.options)]
    for share in (0.05, 0.3, 0.8):
        limit = share * max(error for error, _ in every)
        found = smallest(problem, limit)
        assert problem.error(found) <= limit
        assert problem.size(found) <= 1.03 * min(size for error, size in every if error <= limit)
        room = int(problem.sizes.max() * share * 6)
        allowed = [error for error, size in every if size <= room]
        if allowed:
            found = nearest(problem, room)
            assert problem.size(found) <= room
            assert problem.error(found) <= 1.03 * min(allowed) + 1e-12


def test_errors_that_cancel_are_taken_together() -> None:
    """Two layers that are each over the limit, and under it together: what a list sorted by layer would not find."""
    vectors = np.array([[0.0, 0], [0, 0], [0, 0], [1, 0], [-1, 0.1], [0, 3]])
    problem = Problem(((0, 3), (1, 4), (2, 5)), np.array([8, 8, 8, 1, 1, 1]), vectors @ vectors.T)
    assert smallest(problem, 0.5) == (3, 4, 2)
    assert nearest(problem, 10) == (3, 4, 2)
    assert smallest(problem, 0.05) == (0, 1, 2)
    assert nearest(problem, 1) == (3, 4, 5)  # there is nothing as small
