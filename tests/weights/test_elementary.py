"""Functions and products whose bits are the same on every machine: near what NumPy makes in a wider type, and pinned to the bit."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from lamina.compiler import elementary
from lamina.compiler.weights.products import product

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
NORMAL = RANDOM.standard_normal(2000)
WIDE = RANDOM.uniform(-700, 700, 2000)
POSITIVE = np.exp2(RANDOM.uniform(-300, 300, 2000))
FAR = np.exp2(RANDOM.uniform(18, 1000, 300))
CASES = {
    "exp": (np.exp, (NORMAL, WIDE)),
    "expm1": (np.expm1, (NORMAL, NORMAL * 1e-6, WIDE)),
    "log": (np.log, (POSITIVE, 1 + NORMAL * 1e-3)),
    "log2": (np.log2, (POSITIVE,)),
    "softplus": (lambda x: np.log1p(np.exp(x)), (NORMAL, WIDE)),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), (NORMAL, WIDE)),
    "tanh": (np.tanh, (NORMAL, NORMAL * 1e-6, WIDE)),
    "sin": (np.sin, (NORMAL, WIDE, FAR)),
    "cos": (np.cos, (NORMAL, WIDE, FAR)),
    "tan": (np.tan, (NORMAL, WIDE)),
}
ENDS = np.array([0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, 1e308, -1e308, 0.5, 2.0, -2.0, 3.0, -3.0])


def units_away(got: Array, want: Array) -> float:
    """How far the farthest is from what it should be, in units in the last place."""
    return float((np.abs(got - want) / np.spacing(np.abs(want).astype(np.float64))).max())


@pytest.mark.parametrize("name", CASES)
def test_functions_are_right_to_three_units_in_the_last_place(name: str) -> None:
    wide, inputs = CASES[name]
    for x in inputs:
        with np.errstate(all="ignore"):
            assert units_away(getattr(elementary, name)(x), wide(x.astype(np.longdouble))) < 3


@pytest.mark.parametrize("exponent", [2, 3, -1, -2, 0.5, -0.5, 1 / 3, -0.37, 2.5])
def test_powers(exponent: float) -> None:
    x = np.exp2(RANDOM.uniform(-3, 3, 2000))
    assert units_away(elementary.power(x, exponent), x.astype(np.longdouble) ** np.longdouble(exponent)) < 8


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log2", "sin", "cos", "tanh"])
def test_the_ends_are_numpy_s(name: str) -> None:
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(getattr(elementary, name)(ENDS), getattr(np, name)(ENDS), rtol=1e-14)


def test_the_ends_of_powers_are_numpy_s() -> None:
    x, y = (part.ravel() for part in np.meshgrid(ENDS, ENDS))
    ours = np.isinf(x) & (x < 0) & (y != np.rint(y))  # C says that minus infinity has a root
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(elementary.power(x, y)[~ours], np.power(x, y)[~ours], rtol=1e-13)


def test_what_is_exact_stays_so() -> None:
    assert elementary.log2(np.exp2(np.arange(-1000.0, 1000))).tolist() == list(range(-1000, 1000))
    assert elementary.power(10, -3.0) == 0.001
    assert elementary.power(7, 2.0) == 49
    assert elementary.power(2, 0.5) == np.sqrt(2)
    assert elementary.exp(0) == 1


SHAPES = [((7,), (7,)), ((7,), (7, 3)), ((2, 7), (7,)), ((4, 2, 7), (4, 7, 3)), ((7,), (4, 7, 3)), ((0, 7), (7, 3)), ((2, 0), (0, 3))]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_products_have_numpy_s_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = RANDOM.standard_normal(a), RANDOM.standard_normal(b)
    assert product(x, y).shape == np.matmul(x, y).shape
    np.testing.assert_allclose(product(x, y), np.matmul(x, y), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 6e-8), ("float64", 6e-16)])
@pytest.mark.parametrize("depth", [300, 9000])
def test_products_are_right_to_a_few_units_in_the_last_place(dtype: str, bound: float, depth: int) -> None:
    x, y = RANDOM.standard_normal((5, depth)).astype(dtype), RANDOM.standard_normal((depth, 4)).astype(dtype)
    x[0] *= 1e-30  # a row counts for itself
    got, want = product(x, y), x.astype(np.longdouble) @ y.astype(np.longdouble)
    assert got.dtype == dtype
    assert (np.abs(got - want).max(axis=1) <= bound * np.abs(want).max(axis=1)).all()


def test_a_product_in_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = RANDOM.standard_normal((10, 6)), RANDOM.standard_normal((6, 5))
    whole = product(x, y)
    monkeypatch.setattr("lamina.compiler.weights.products._BLOCK", 15)
    assert product(x, y).tobytes() == whole.tobytes()


def test_products_of_what_is_not_finite() -> None:
    x, y = RANDOM.standard_normal((3, 4)), RANDOM.standard_normal((4, 2))
    x[0, 0], x[1, 1], y[0] = np.inf, np.nan, -1
    np.testing.assert_allclose(product(x, y), x @ y)


def bits(*arrays: Array) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def test_the_bits_are_these_on_every_machine() -> None:
    """Whatever instructions and threads there are. A change that alters them alters bundles."""
    x = (np.arange(4096.0) - 2000) / 37
    matrix = ((np.arange(90_000.0) * 7919) % 1009 / 1009 - 0.5).reshape(300, 300)
    assert bits(*(getattr(elementary, name)(np.abs(x) if name.startswith("log") else x) for name in CASES)) == "25b986e30256c7b0"
    assert bits(elementary.power(np.abs(x) + 1, -0.37)) == "e526cc139fcc1174"
    assert bits(product(matrix, matrix), product(matrix.astype(np.float32), matrix.astype(np.float32))) == "22149fa95fe19e3e"
