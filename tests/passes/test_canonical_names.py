"""Names of derived tensors and constants are equal exactly where their contents are, in whatever graph they stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from passes_bench import N, assert_same, builder, draw, graph, named, value, weight

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Constant, Derived, Parameter, Value
from lamina.compiler.passes.canonical_names import canonical_names
from lamina.compiler.passes.deduplicate import deduplicate
from lamina.compiler.passes.fold import fold

X, Y = value("x", N, 4), value("y", N, 4)
FEEDS = {"x": draw(3, 4)}
Make = Callable[[Builder], Value]


def fixed(make: Make, before: int = 0) -> str:
    """The canonical name of what is added to x, in a graph with some other operators `before` it."""
    g = builder()
    x = X
    for _ in range(before):
        x = g("Mul", x, g("Exp", weight("other", 4)))
    found = canonical_names(deduplicate(fold(graph(g, [X], [named(g, "Add", x, make(g), result=Y)]))))
    (name,) = (v.name for v in found.nodes[-1].inputs if isinstance(v, Constant | Derived))
    return name


W, V = weight("layers.0.w", 4, 4), weight("layers.0.v", 4, 4)
CONTENTS: dict[str, Make] = {
    "one": lambda g: g.constant([1, 2, 3, 4], "float32"),
    "another number": lambda g: g.constant([1, 2, 3, 5], "float32"),
    "another shape": lambda g: g.constant([[1, 2, 3, 4]], "float32"),
    "another dtype": lambda g: g.constant([1, 2, 3, 4], "float64"),
    "float16": lambda g: g.constant([1, 2], "float16"),
    "bfloat16": lambda g: g.constant([1, 2], "bfloat16"),
    "many": lambda g: g.constant(np.arange(4000).reshape(1000, 1, 4), "float32"),
    "many, the last different": lambda g: g.constant(np.append(np.arange(3999), 0).reshape(1000, 1, 4), "float32"),
    "a weight's": lambda g: g("ReduceSum", g("Exp", W), g.ints(0)),
    "another weight's": lambda g: g("ReduceSum", g("Exp", V), g.ints(0)),
    "another operator": lambda g: g("ReduceSum", g("Sqrt", W), g.ints(0)),
    "another axis": lambda g: g("ReduceSum", g("Exp", W), g.ints(1)),
    "another attribute": lambda g: g("ReduceSum", g("Exp", W), g.ints(0), keepdims=0),
    "another order": lambda g: g("ReduceSum", g("MatMul", W, V), g.ints(0)),
    "another order, swapped": lambda g: g("ReduceSum", g("MatMul", V, W), g.ints(0)),
    "the first part": lambda g: g("Split", W, axis=0, num_outputs=4, outputs=4)[0],
    "the second part": lambda g: g("Split", W, axis=0, num_outputs=4, outputs=4)[1],
    "an array attribute": lambda g: g("ConstantOfShape", g.ints(300, 300, 4), value=np.array([0.1], np.float32)),
    "in float64": lambda g: g("ConstantOfShape", g.ints(300, 300, 4), value=np.array([0.1], np.float64)),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_equal_contents_have_equal_names(content: str) -> None:
    """However many names were given before, and in another process too: names hold no address and no counter."""
    assert fixed(CONTENTS[content]) == fixed(CONTENTS[content], before=3)


def test_different_contents_have_different_names() -> None:
    names = [fixed(make) for make in CONTENTS.values()]
    assert len(set(names)) == len(CONTENTS)


def test_names_say_which_weight_they_are_made_of() -> None:
    assert fixed(CONTENTS["a weight's"]).startswith("layers.0.w.reducesum.")
    assert fixed(CONTENTS["one"]).startswith("constant.")
    assert fixed(CONTENTS["an array attribute"]).startswith("constant.constantofshape.")


def test_weights_keep_their_names_and_outputs_too() -> None:
    g = builder()
    before = deduplicate(fold(graph(g, [X], [named(g, "Add", g("MatMul", X, W), g("Neg", weight("b", 4)), result=Y)])))
    after = canonical_names(before)
    assert {v.name for v in after.initializers() if isinstance(v, Parameter)} == {"layers.0.w"}
    assert after.outputs == before.outputs
    assert {p.name for p in after.parameters()} == {"layers.0.w", "b"}
    assert_same(before, after, FEEDS)


def test_values_of_operators_do_not_take_a_weight_s_name() -> None:
    """Operators are named by their output, and a spec may call a step as it likes."""
    g = builder()
    found = canonical_names(deduplicate(fold(graph(g, [X], [named(g, "MatMul", X, g("Transpose", W, perm=(1, 0)), result=Y)]))))
    names = [v.name for v in (*found.inputs, *found.initializers())] + [v.name for n in found.nodes for v in n.outputs]
    assert len(names) == len(set(names))
