"""Bounds of sizes hold every value over the declared range, and see through floor division."""

from __future__ import annotations

import itertools

import pytest

from lamina.schema.dims import Dim, Size, Symbol, bounds, compare, counterexample, deciding, smallest, value_of

T = Dim.of(Symbol("t", min=4, opt=8, max=19))
H = Dim.of(Symbol("h", min=8, opt=16, max=40, multiple_of=8))
RANGES = {"t": range(4, 20), "h": range(8, 41, 8)}
SIZES = [
    T // 2,
    T - T // 2,
    T // 2 - T,
    (T + 3) // 4 * 4 - T,
    (T * H) // 3 - T,
    ((T + 1) // 2 + 3) // 2,
    2 * (T // 3) - H // 16 + 1,
    -T % 4,
    T * H - T,
    H - T * H + 3 * T,
    T * (H // 16) - 2 * (H // 16),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bounds_hold_every_value(size: Size) -> None:
    values = [value_of(size, dict(zip(RANGES, point, strict=True))) for point in itertools.product(*RANGES.values())]
    low, high = bounds(size)
    assert low <= min(values)
    assert high >= max(values)


def test_windows_over_windows_have_one_form() -> None:
    """What strided layers one after the other leave is the size that one division gives, whatever the order of the steps."""
    assert ((T + 1) // 2 + 1) // 2 == (T + 3) // 4
    assert (((T - 3) // 2 + 1) // 3 - 5) // 4 == (T - 31) // 24
    assert (T // 2 + T) // 2 != (3 * T) // 4  # where t is 5, say
    for t in range(4, 20):
        assert ((((t - 3) // 2 + 1) // 3) - 5) // 4 == (t - 31) // 24


def test_a_half_is_at_most_the_whole() -> None:
    assert compare(T // 2, "<=", T) is True
    assert compare(T // 2, "<", T) is True
    assert compare((T + 3) // 4 * 4, ">=", T) is True
    assert compare((T - 3) // 2 + 1, ">=", 1) is True
    assert compare(T // 2, "<", 8) is None


def test_a_product_with_a_difference_is_bounded_by_its_factors() -> None:
    assert compare(T * H - T, ">=", 0) is True
    assert bounds(T * H - T) == (bounds(T)[0] * (bounds(H)[0] - 1), bounds(T)[1] * (bounds(H)[1] - 1))


@pytest.mark.parametrize("least", [5, 500, 700, 31007, 40000])
def test_the_smallest_value_is_found(least: int) -> None:
    """Also far from the smallest that the range has."""
    n, h = Symbol("n", min=1, opt=1, max=9), Symbol("h", min=2, opt=64, max=40000)
    assert smallest([n, h], lambda env: env["h"] >= least) == {"h": least, "n": 1}
    assert smallest([n, h], lambda env: env["h"] > 40000) is None


def test_values_of_several_dims_are_found() -> None:
    n, h = Symbol("n", min=1, opt=1, max=9), Symbol("h", min=2, opt=64, max=400)
    wanted = lambda env: env["h"] * env["n"] > 3000  # noqa: E731
    env = smallest([n, h], wanted)
    assert env is not None
    assert wanted(env)
    assert deciding([n, h], env, wanted) == env
    assert deciding([n, h], {"h": 400, "n": 9}, lambda env: env["h"] > 3) == {"h": 400}


def test_a_counterexample_is_the_smallest() -> None:
    assert counterexample(T // 7 * 7, T) == {"t": 4}
    assert counterexample((T + 6) // 17, 0) == {"t": 11}


def test_a_dim_leaves_room_for_another() -> None:
    """What is left for a dim bounds sums in which it stands once, and values beyond are no counterexamples."""
    t = Symbol("t", min=1, opt=1, max=64)
    p = Dim.of(Symbol("p", min=0, opt=8, max=63, at_most=64 - Dim.of(t)))
    assert bounds(p + Dim.of(t)) == (1, 64)
    assert bounds(2 * p + Dim.of(t)) == (1, 127)
    assert bounds(-p - Dim.of(t)) == (-64, -1)
    assert bounds(10 - p)[0] == -53
    assert compare(p + Dim.of(t) - 1, "<=", 63) is True
    assert compare(p // 2 + Dim.of(t), "<=", 64) is True
    assert counterexample(p + Dim.of(t), 65) == {"p": 0, "t": 1}
    assert smallest(p.symbols, lambda env: env["p"] + env["t"] > 64) is None
    assert smallest(p.symbols, lambda env: env["p"] > 40) == {"p": 41, "t": 1}
