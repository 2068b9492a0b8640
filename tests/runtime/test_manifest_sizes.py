"""Sizes as text, against Python's own arithmetic on hand-picked and random expressions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.runtime import shapes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("H // 4", 56), ("2 * N + 1", 7), ("(T + 3) // 2 + 1", 7), ("-N + 10", 7), ("H % 100", 24), ("N", 3), ("-T // 2", -5)],
)
def test_values(text: str, expected: int) -> None:
    assert shapes.evaluate(text, {"H": 224, "N": 3, "T": 9}) == expected


def test_integers_stay() -> None:
    assert shapes.evaluate(7, {}) == 7
    assert shapes.names(7) == frozenset()
    assert shapes.names("(T + N) // 2") == {"T", "N"}


TREES = st.recursive(
    st.sampled_from(["A", "B", "3", "17"]),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=8,
)


@settings(deadline=None)
@given(TREES, st.integers(0, 50), st.integers(0, 50))
def test_random_polynomials_agree_with_sympy(text: str, a: int, b: int) -> None:
    import sympy

    assert shapes.evaluate(text, {"A": a, "B": b}) == int(sympy.sympify(text, locals={"A": sympy.Integer(a), "B": sympy.Integer(b)}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f()",
        "a.b",
        "1.5",
        "True",
        "'x'",
        "a if b else c",
        "x[0]",
        "2 ** 9",
        "a;b",
        "lambda: 1",
        "a / b",
        "~a",
        "(" * 500 + "1" + ")" * 500,
        "-" * 1000 + "1",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        shapes.names(text)


def test_bounds() -> None:
    with pytest.raises(ValueError, match="at most 2000 are read"):
        shapes.names("1" * 3000)
    with pytest.raises(ValueError, match="does not fit 64 bits"):
        shapes.evaluate("N * N * N", {"N": 2**31})
    with pytest.raises(ValueError, match="divides by zero"):
        shapes.evaluate("8 // N", {"N": 0})
    with pytest.raises(ValueError, match="`M` is not known"):
        shapes.evaluate("M", {})
