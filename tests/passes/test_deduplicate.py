"""What computes the same is computed once; what may differ, or draws random numbers, is not merged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from passes_bench import N, assert_same, builder, draw, graph, named, op_types, value, weight

from lamina.compiler.graph import Derived, Node, Value
from lamina.compiler.passes.deduplicate import deduplicate
from lamina.compiler.passes.fold import fold

X, Y, Z = value("x", N, 4), value("y", N, 4), value("z", N, 4)
FEEDS = {"x": draw(3, 4)}


def test_equal_operators_are_one_and_so_are_their_readers() -> None:
    g = builder()
    left, right = (g("Mul", g("Relu", X), g("Sigmoid", X)) for _ in range(2))
    before = graph(g, [X], [named(g, "Add", left, right, result=Y)])
    after = deduplicate(before)
    assert op_types(after) == {"Relu": 1, "Sigmoid": 1, "Mul": 1, "Add": 1}
    assert_same(before, after, FEEDS)


def test_an_output_that_is_a_duplicate_keeps_its_name() -> None:
    g = builder()
    before = graph(g, [X], [named(g, "Relu", X, result=Y), named(g, "Relu", X, result=Z)])
    after = deduplicate(before)
    assert op_types(after) == {"Relu": 1, "Identity": 1}
    assert after.outputs == before.outputs
    assert_same(before, after, FEEDS)


def test_what_nothing_reads_is_dropped() -> None:
    g = builder()
    g("Exp", g("Sqrt", X))
    before = graph(g, [X], [named(g, "Relu", X, result=Y)])
    after = deduplicate(before)
    assert op_types(after) == {"Relu": 1}
    assert_same(before, after, FEEDS)


def test_an_operator_stays_for_one_of_its_outputs() -> None:
    g = builder()
    first, _ = g("Split", X, axis=1, num_outputs=2, outputs=2)
    before = graph(g, [X], [named(g, "Relu", first, result=value("y", N, 2))])
    after = deduplicate(before)
    assert op_types(after) == {"Split": 1, "Relu": 1}
    assert_same(before, after, FEEDS)


Pair = tuple[tuple[str, tuple[Value | None, ...], dict[str, Any]], ...]
K = builder()
DIFFERENT: dict[str, Pair] = {
    "operator": (("Relu", (X,), {}), ("Abs", (X,), {})),
    "attribute": (("Softmax", (X,), {"axis": 0}), ("Softmax", (X,), {"axis": 1})),
    "attribute that is there": (("LeakyRelu", (X,), {}), ("LeakyRelu", (X,), {"alpha": 0.5})),
    "input": (("Sub", (X, Z), {}), ("Sub", (Z, X), {})),
    "input that is there": (("Clip", (X, None, K.constant(1, "float32")), {}), ("Clip", (X, K.constant(1, "float32")), {})),
    "weight": (("Mul", (X, weight("v", 4)), {}), ("Mul", (X, weight("w", 4)), {})),
    "number": (("Mul", (X, K.constant(2, "float32")), {}), ("Mul", (X, K.constant(3, "float32")), {})),
    "zero's sign": (("Div", (X, K.constant(0.0, "float32")), {}), ("Div", (X, K.constant(-0.0, "float32")), {})),
    "shape": (("Mul", (X, K.constant([2], "float32")), {}), ("Mul", (X, K.constant([[2]], "float32")), {})),
    "large array": tuple(("Mul", (X, K.constant(np.arange(4000).reshape(1000, 1, 4) == n, "float32")), {}) for n in (1, 3999)),
    "array attribute": tuple(("ConstantOfShape", (Z,), {"value": np.array([n], np.float32)}) for n in (1, 2)),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_is_not_merged(pair: Pair) -> None:
    g = builder()
    made = [g(op_type, *inputs, **attributes) for op_type, inputs, attributes in pair]
    g("Add", *made)
    assert len(deduplicate(graph(g, [X, Z], [g.nodes[-1].outputs[0]])).nodes) == 3


def test_dtypes_of_equal_bytes_differ() -> None:
    g = builder()
    integers = g("Add", g.constant([0, 1], "int32"), g.constant([0, 1], "int32"))
    floats = g("Add", g.constant([0, 1e-45], "float32"), g.constant([0, 1e-45], "float32"))
    after = deduplicate(graph(g, [], [integers, floats]))
    assert [node.inputs[0].dtype for node in after.nodes if node.inputs[0]] == ["int32", "float32"]


@pytest.mark.parametrize("op_type", ["RandomNormalLike", "Dropout", "Bernoulli"])
def test_random_operators_are_drawn_each_for_itself(op_type: str) -> None:
    g = builder()
    g("Sub", g(op_type, X), g(op_type, X))
    assert op_types(deduplicate(graph(g, [X], [g.nodes[-1].outputs[0]])))[op_type] == 2


def test_the_number_of_outputs_counts() -> None:
    g = builder()
    parts = [*g("Split", X, axis=1, outputs=2), *g("Split", X, axis=1, outputs=4)]
    g("Concat", *parts, axis=1)
    assert op_types(deduplicate(graph(g, [X], [g.nodes[-1].outputs[0]])))["Split"] == 2


def test_equal_derived_tensors_are_one() -> None:
    g = builder()
    w = weight("w", 4, 4)
    both = [g("MatMul", X, g("Transpose", g("Exp", w), perm=(1, 0))) for _ in range(2)]
    other = g("MatMul", X, g("Transpose", g("Exp", weight("v", 4, 4)), perm=(1, 0)))
    before = graph(g, [X], [named(g, "Sum", *both, other, result=Y)])
    after = deduplicate(fold(before))
    assert op_types(after) == {"MatMul": 2, "Sum": 1}
    assert len(after.initializers()) == 2
    assert_same(before, after, FEEDS, rtol=1e-6)


def test_the_parts_of_one_derived_tensor_differ() -> None:
    g = builder()
    a, b = g("Split", weight("w", 8, 4), axis=0, num_outputs=2, outputs=2)
    before = graph(g, [X], [named(g, "Sub", g("MatMul", X, a), g("MatMul", X, b), result=Y)])
    after = deduplicate(fold(before))
    assert op_types(after)["MatMul"] == 2
    assert_same(before, after, FEEDS)


def test_outputs_that_are_one_derived_tensor_have_both_names() -> None:
    g = builder()
    w = weight("w", 2)
    before = graph(g, [X], [named(g, "Neg", w, result=value(name, 2)) for name in "yz"])
    after = deduplicate(fold(before))
    assert [v.name for v in after.outputs] == ["y", "z"]
    assert len(after.initializers()) == 1
    assert_same(before, after, FEEDS)


def test_a_chain_of_any_length() -> None:
    g = builder()
    last: Value = weight("w", 1)
    for _ in range(3000):
        last = g("Neg", last)
    before = graph(g, [X], [named(g, "Mul", X, last, result=Y)])
    after = deduplicate(fold(before))
    assert op_types(after) == {"Mul": 1}
    assert isinstance(after.nodes[0].inputs[1], Derived)
    assert_same(before, after, FEEDS)


def test_nodes_of_pytorch_are_left_alone() -> None:
    g = builder()
    g("Add", g.torch("relu", X), g.torch("relu", X))
    nodes: tuple[Node, ...] = deduplicate(graph(g, [X], [g.nodes[-1].outputs[0]])).nodes
    assert [node.op_type for node in nodes] == ["relu", "relu", "Add"]
