"""Products with fixed matrices become one where that is no more work, and nothing reads what lies between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from passes_bench import N, assert_same, builder, draw, elaborated, graph, named, op_types, value, weight

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Graph, Value
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.passes.fold import fold
from lamina.compiler.passes.merge_products import merge_products

Formula = Callable[[Builder, Value], Value]
X, FEEDS = value("x", N, 5, 6), {"x": draw(3, 5, 6)}


def built(formula: Formula, columns: int) -> Graph:
    g = builder()
    return graph(g, [X], [named(g, "Tanh", formula(g, X), result=value("y", N, 5, columns))])


def linear(g: Builder, x: Value, name: str, *sizes: int) -> Value:
    return g("Add", g("MatMul", x, weight(name, *sizes)), weight(f"{name}.bias", sizes[1]))


def scaled(g: Builder, x: Value) -> Value:
    return g("Mul", x, g.constant(0.5, "float32"))


def branch(g: Builder, x: Value, name: str, *sizes: int) -> Value:
    """Down to a rank and up again, each with a bias, and scaled."""
    return scaled(g, linear(g, linear(g, x, f"{name}.down", *sizes[:2]), f"{name}.up", *sizes[1:]))


def branches(g: Builder, x: Value) -> Value:
    """Beside a layer, of what goes into it and of what it makes."""
    y = linear(g, x, "w", 6, 4)
    return g("Add", g("Add", y, branch(g, x, "parallel", 6, 1, 4)), branch(g, y, "sequential", 4, 1, 4))


def low_rank(g: Builder, x: Value) -> Value:
    return g("MatMul", g("MatMul", x, weight("a", 6, 2)), weight("b", 2, 6))


def learnt_scales(g: Builder, x: Value) -> Value:
    """By a number, and by a vector after the sum."""
    added = g("Mul", weight("number", 1), low_rank(g, x))
    return g("Mul", g("Add", g("MatMul", x, weight("w", 6, 6)), added), weight("vector", 6))


MERGED: dict[str, tuple[Formula, int]] = {
    "branches": (branches, 4),
    "learnt scales": (learnt_scales, 6),
    "two in a row": (lambda g, x: linear(g, linear(g, x, "a", 6, 6), "b", 6, 6), 6),
    "wide between": (lambda g, x: linear(g, linear(g, x, "a", 6, 24), "b", 24, 6), 6),
    "two of one value": (lambda g, x: g("Add", linear(g, x, "a", 6, 3), linear(g, x, "b", 6, 3)), 3),
}


@pytest.mark.parametrize("case", MERGED)
def test_merged(case: str) -> None:
    formula, columns = MERGED[case]
    before = built(formula, columns)
    after = fold(merge_products(before))
    assert op_types(after) == {"MatMul": 1, "Tanh": 1} | ({} if case == "learnt scales" else {"Add": 1})
    assert_same(before, after, FEEDS, rtol=1e-5)


def test_of_a_matrix() -> None:
    """Gemms become one, whose bias is the sum of all."""
    g, x = builder(), value("x", N, 6)
    y = g("Gemm", x, weight("w", 4, 6), weight("w.bias", 4), transB=1)
    low = g("Gemm", y, weight("down", 1, 4), transB=1)
    added = g("Gemm", low, weight("up", 4, 1), weight("up.bias", 4), transB=1)
    before = graph(g, [x], [named(g, "Add", y, scaled(g, added), result=value("y", N, 4))])
    after = fold(merge_products(before))
    assert op_types(after) == {"Gemm": 1}
    assert_same(before, after, {"x": draw(3, 6)}, rtol=1e-5)


def between(g: Builder, x: Value) -> Value:
    y = linear(g, x, "w", 6, 4)
    return g("Add", g("Add", y, branch(g, y, "sequential", 4, 1, 4)), g("Relu", y))


STAYS: dict[str, tuple[Formula, int]] = {
    "low rank alone": (low_rank, 6),
    "narrow between": (lambda g, x: linear(g, linear(g, x, "a", 6, 1), "b", 1, 24), 24),
    "beside the value itself": (lambda g, x: g("Add", x, low_rank(g, x)), 6),
    "of two values": (lambda g, x: g("Add", g("MatMul", x, weight("a", 6, 6)), g("MatMul", g("Relu", x), weight("b", 6, 6))), 6),
    "read elsewhere": (between, 4),
    "one row for all": (lambda g, x: g("Add", g("MatMul", x, weight("a", 6, 6)), g("MatMul", x, weight("b", 6, 1))), 6),
    "matrices of a batch": (lambda g, x: g("MatMul", g("MatMul", x, weight("a", 5, 6, 6)), weight("b", 6, 6)), 6),
}


@pytest.mark.parametrize("case", STAYS)
def test_stays(case: str) -> None:
    formula, columns = STAYS[case]
    before = built(formula, columns)
    assert merge_products(before).nodes == before.nodes


def test_an_output_stays() -> None:
    """And what follows from it alone is low-rank, which one matrix would not be."""
    g = builder()
    y = named(g, "MatMul", X, weight("w", 6, 4), result=value("y", N, 5, 4))
    z = named(g, "Add", y, branch(g, y, "sequential", 4, 1, 4), result=value("z", N, 5, 4))
    before = graph(g, [X], [y, z])
    assert merge_products(before).nodes == before.nodes


def test_what_reads_elsewhere_begins_there() -> None:
    """x @ w is read by both: what is merged begins at it, not at x."""
    g = builder()
    y = g("MatMul", X, weight("w", 6, 6))
    z = named(g, "Add", linear(g, y, "v", 6, 6), branch(g, y, "parallel", 6, 1, 6), result=value("z", N, 5, 6))
    before = graph(g, [X], [z, named(g, "Relu", y, result=value("r", N, 5, 6))])
    after = fold(merge_products(before))
    assert op_types(after) == {"MatMul": 2, "Add": 1, "Relu": 1}
    assert_same(before, after, FEEDS, rtol=1e-5)


def test_in_bodies(tmp_path: Path) -> None:
    text = "[{map: {over: 0, values: {v: x}, do: ['w = linear(linear(v, 9, name=''a''), 6, name=''b'')'], collect: {z: w}}}, z]"
    before = fold(decompose(elaborated(tmp_path, text), "onnx"))
    after = fold(merge_products(before))
    (body,) = (node.body for node in after.nodes if node.body is not None)
    assert op_types(body)["MatMul"] + op_types(body)["Gemm"] == 1
    assert_same(before, after, {"x": draw(3, 6)}, rtol=1e-5)
