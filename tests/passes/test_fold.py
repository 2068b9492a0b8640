"""What weights and constants alone decide leaves the graph: small constants at once, all else when weights are written."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from passes_bench import N, assert_same, builder, draw, graph, named, op_types, run, value, weight

from lamina.compiler.graph import Constant, Derived, Graph, Parameter, Value
from lamina.compiler.passes.fold import fold
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.shapes import Shapes

X, Y = value("x", N, 4), value("y", N, 4)
FEEDS = {"x": draw(3, 4)}


def test_weights_that_are_computed_become_derived_tensors() -> None:
    g = builder()
    scaled = g("Mul", weight("w", 4, 4), g("Exp", weight("s", 4)))
    before = graph(g, [X], [named(g, "MatMul", X, g("Transpose", scaled, perm=(1, 0)), result=Y)])
    after = fold(before)
    assert op_types(after) == {"MatMul": 1}
    (derived,) = after.initializers()
    assert isinstance(derived, Derived)
    assert {p.name for p in after.parameters()} == {"w", "s"}
    assert_same(before, after, FEEDS, rtol=1e-6)


def test_constants_become_constants() -> None:
    g = builder()
    angles = g("Cos", g("Mul", g.constant([1.0, 2.0, 3.0, 4.0], "float32"), g.constant(0.5, "float32")))
    before = graph(g, [X], [named(g, "Add", X, angles, result=Y)])
    after = fold(before)
    assert op_types(after) == {"Add": 1}
    (found,) = after.initializers()
    assert isinstance(found, Constant)
    assert found.type is not None
    assert (found.dtype, found.shape) == ("float32", (4,))
    np.testing.assert_allclose(found.array, np.cos([0.5, 1.0, 1.5, 2.0]), rtol=1e-6)
    assert_same(before, after, FEEDS, rtol=1e-6)  # NumPy's own cosine is a little off


def test_an_operator_with_several_outputs() -> None:
    g = builder()
    a, b = g("Split", weight("w", 8, 4), axis=0, num_outputs=2, outputs=2)
    before = graph(g, [X], [named(g, "MatMul", g("MatMul", X, a), b, result=Y)])
    after = fold(before)
    assert op_types(after) == {"MatMul": 2}
    assert_same(before, after, FEEDS)


def test_what_reads_an_input_stays() -> None:
    g = builder()
    before = graph(g, [X], [named(g, "Reshape", g("Relu", X), g("Shape", X), result=Y)])
    after = fold(before)
    assert op_types(after) == {"Relu": 1, "Shape": 1, "Reshape": 1}
    assert_same(before, after, FEEDS)


@pytest.mark.parametrize("op_type", ["RandomNormalLike", "Dropout", "Gelu"])
def test_randomness_and_operators_that_are_not_evaluated_stay(op_type: str) -> None:
    g = builder()
    g("Add", X, g(op_type, weight("w", 4)))
    assert op_types(fold(graph(g, [X], [g.nodes[-1].outputs[0]]))) == {op_type: 1, "Add": 1}


def test_other_domains_stay() -> None:
    g = builder()
    g("Add", X, g("Sqrt", weight("w", 4), domain="com.microsoft"))
    assert op_types(fold(graph(g, [X], [g.nodes[-1].outputs[0]]))) == {"Sqrt": 1, "Add": 1}


@pytest.mark.parametrize("last", [weight("w", 2, 3), builder().constant([[1.0, 2.0, 3.0]] * 2, "float32")], ids=["weight", "constant"])
def test_an_output_that_folds_keeps_its_name(last: Value) -> None:
    g = builder()
    before = graph(g, [X], [named(g, "Neg", last, result=value("y", 2, 3))])
    after = fold(before)
    (copy,) = after.nodes
    assert copy.op_type == "Identity"
    assert isinstance(copy.inputs[0], Derived if isinstance(last, Parameter) else Constant)
    assert copy.outputs == after.outputs == before.outputs
    assert_same(before, after, FEEDS)


def test_a_copy_of_a_weight_is_the_weight() -> None:
    g = builder()
    w = weight("w", 4)
    after = fold(graph(g, [X], [named(g, "Add", X, g("Identity", g("Identity", w)), result=Y)]))
    assert after.nodes[0].inputs == (X, w)


def large(n: int) -> Graph:
    """x plus the corner of an identity matrix [n, n], which is made of 8 n bytes of indices."""
    g = builder()
    rows = g.constant(np.arange(n), "int64")
    same = g("Equal", g("Unsqueeze", rows, g.ints(1)), rows)
    corner = g("Slice", same, g.ints(0, 0), g.ints(4, 4), g.ints(0, 1))
    picked = g("Gather", corner, g.constant(2, "int64"))
    return graph(g, [X], [named(g, "Add", X, g("Cast", picked, to=1), result=Y)])


def test_a_large_constant_is_not_held() -> None:
    """32,768 rows would be 1 GiB. The shape of what is derived from it is known without it, too."""
    tracemalloc.start()
    after = fold(large(1 << 15))
    (derived,) = [v for v in after.initializers() if isinstance(v, Derived)]
    assert tensor_of(derived, Shapes()).shape == (4,)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert op_types(after) == {"Add": 1}


@pytest.mark.parametrize(("n", "kind"), [(1024, Constant), (1025, Derived)])
def test_a_constant_of_one_mebibyte_is_the_largest(n: int, kind: type) -> None:
    after = fold(large(n))
    (found,) = after.initializers()
    assert isinstance(found, kind)
    (y,) = run(after, FEEDS)
    np.testing.assert_array_equal(y, FEEDS["x"] + np.array([0, 0, 1, 0], np.float32))


def test_a_range_of_a_billion_is_not_made() -> None:
    g = builder()
    ids = named(g, "Range", *(g.constant(i, "int64") for i in (0, 10**9, 1)), result=value("ids", 10**9, dtype="int64"))
    first = g("Slice", ids, g.ints(1), g.ints(2))
    after = fold(graph(g, [X], [named(g, "Add", X, g("Cast", first, to=1), result=Y)]))
    assert op_types(after) == {"Add": 1}
    assert all(isinstance(v, Derived) for v in after.initializers())
