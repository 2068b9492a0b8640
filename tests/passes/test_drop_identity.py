"""Copies vanish, and an output's name moves to the operator that makes it; what has no such operator stays a copy."""

from __future__ import annotations

from passes_bench import N, assert_same, builder, draw, graph, named, op_types, run, value, weight

from lamina.compiler.passes.drop_identity import drop_identity

X, Y, Z = value("x", N, 4), value("y", N, 4), value("z", N, 4)
FEEDS = {"x": draw(3, 4)}


def test_a_copy_in_the_middle() -> None:
    g = builder()
    copied = g("Identity", g("Identity", g("Relu", X)))
    before = graph(g, [X], [named(g, "Neg", copied, result=Y)])
    after = drop_identity(before)
    assert op_types(after) == {"Relu": 1, "Neg": 1}
    assert_same(before, after, FEEDS)


def test_a_copy_of_an_input_in_the_middle() -> None:
    g = builder()
    before = graph(g, [X], [named(g, "Neg", g("Identity", X), result=Y)])
    after = drop_identity(before)
    assert [node.inputs for node in after.nodes] == [(X,)]
    assert_same(before, after, FEEDS)


def test_an_output_takes_the_place_of_what_it_copies() -> None:
    """Also for others that read what it copied, before it and after it."""
    g = builder()
    source = g("Relu", X)
    early = g("Neg", source)
    named(g, "Identity", g("Identity", source), result=Y)
    before = graph(g, [X], [Y, named(g, "Add", early, source, result=Z)])
    after = drop_identity(before)
    assert op_types(after) == {"Relu": 1, "Neg": 1, "Add": 1}
    assert after.nodes[0].outputs == (Y,)
    assert_same(before, after, FEEDS)


def test_two_names_of_one_value() -> None:
    g = builder()
    source = g("Relu", X)
    before = graph(g, [X], [named(g, "Identity", source, result=v) for v in (Y, Z)])
    after = drop_identity(before)
    assert op_types(after) == {"Relu": 1, "Identity": 1}
    assert after.outputs == (Y, Z)
    assert_same(before, after, FEEDS)


def test_one_output_of_several() -> None:
    g = builder()
    first, second = g("Split", X, axis=1, num_outputs=2, outputs=2)
    y, z = value("y", N, 2), value("z", N, 2)
    before = graph(g, [X], [named(g, "Identity", second, result=y), named(g, "Identity", first, result=z)])
    after = drop_identity(before)
    assert [node.outputs for node in after.nodes] == [(z, y)]
    assert_same(before, after, FEEDS)


def test_outputs_that_are_inputs_or_weights_stay_copies() -> None:
    g = builder()
    w = value("w2", 3)
    before = graph(g, [X], [named(g, "Identity", X, result=Y), named(g, "Identity", weight("w", 3), result=w)])
    after = drop_identity(before)
    assert op_types(after) == {"Identity": 2}
    assert [v.name for v in after.outputs] == ["y", "w2"]
    y, _ = run(after, FEEDS)
    assert (y == FEEDS["x"]).all()


def test_other_domains_stay() -> None:
    g = builder()
    g("Neg", g("Identity", X, domain="com.microsoft"))
    assert op_types(drop_identity(graph(g, [X], [g.nodes[-1].outputs[0]]))) == {"Identity": 1, "Neg": 1}
