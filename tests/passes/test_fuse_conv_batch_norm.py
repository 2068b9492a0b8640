"""Conv and BatchNormalization become one Conv where nothing else reads the first, whatever the rank, groups and bias."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from passes_bench import Array, N, assert_same, builder, draw, graph, named, op_types, value, weight

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Graph, Value
from lamina.compiler.passes.deduplicate import deduplicate
from lamina.compiler.passes.fold import fold
from lamina.compiler.passes.fuse_conv_batch_norm import fuse_conv_batch_norm

SIZE = 6


def norm(g: Builder, x: Value, y: Value, epsilon: float = 0.1) -> Value:
    """The variance is positive: half of 1 to 3."""
    variance = weight("variance", 4, init="uniform(0.5)")
    positive = g("Add", variance, g.constant(1.0, "float32"))
    named_weights = (weight("gamma", 4), weight("beta", 4), weight("mean", 4), positive)
    return named(g, "BatchNormalization", x, *named_weights, result=y, epsilon=epsilon)


def conv(g: Builder, x: Value, rank: int = 2, groups: int = 1, bias: bool = False) -> Value:
    filters = weight("filters", 4, 2 // groups, *[3] * rank)
    attributes: dict[str, Any] = {"kernel_shape": (3,) * rank, "pads": (1,) * (2 * rank), "strides": (2,) * rank, "group": groups}
    y: Value = g("Conv", x, filters, weight("bias", 4) if bias else None, **attributes)
    return y


def case(rank: int, groups: int, bias: bool) -> tuple[Graph, dict[str, Array]]:
    g = builder()
    x, y = value("x", N, 2, *[SIZE] * rank), value("y", N, 4, *[SIZE // 2] * rank)
    return graph(g, [x], [norm(g, conv(g, x, rank, groups, bias), y)]), {"x": draw(2, 2, *[SIZE] * rank)}


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_fused(rank: int, groups: int, bias: bool) -> None:
    before, feeds = case(rank, groups, bias)
    after = deduplicate(fold(fuse_conv_batch_norm(fold(before))))
    assert op_types(after) == {"Conv": 1}
    (node,) = after.nodes
    assert node.outputs == before.outputs
    assert (node.attributes["group"], node.attributes["strides"]) == (groups, (2,) * rank)
    assert_same(before, after, feeds, rtol=1e-5)


def test_a_shared_convolution_is_not_fused() -> None:
    g = builder()
    x, y, z = value("x", N, 2, SIZE, SIZE), value("y", N, 4, 3, 3), value("z", N, 4, 3, 3)
    shared = conv(g, x)
    before = fold(graph(g, [x], [norm(g, shared, y), named(g, "Relu", shared, result=z)]))
    assert op_types(fuse_conv_batch_norm(before)) == {"Conv": 1, "BatchNormalization": 1, "Relu": 1}


def test_a_convolution_that_is_an_output_is_not_fused() -> None:
    g = builder()
    x, y = value("x", N, 2, SIZE, SIZE), value("y", N, 4, 3, 3)
    shared = conv(g, x)
    before = fold(graph(g, [x], [norm(g, shared, y), shared]))
    assert op_types(fuse_conv_batch_norm(before)) == {"Conv": 1, "BatchNormalization": 1}


@pytest.mark.parametrize("which", ["Conv", "BatchNormalization"])
def test_weights_that_come_from_inputs_are_not_fused(which: str) -> None:
    """A hypernetwork's, say."""
    before, _ = case(2, 1, bias=False)
    given = value("given", 4, 2, 3, 3) if which == "Conv" else value("given", 4)
    nodes = tuple(
        dataclasses.replace(n, inputs=(n.inputs[0], given, *n.inputs[2:])) if n.op_type == which else n for n in fold(before).nodes
    )
    assert op_types(fuse_conv_batch_norm(dataclasses.replace(before, nodes=nodes))) == {"Conv": 1, "BatchNormalization": 1}


def test_a_norm_after_something_else_stays() -> None:
    g = builder()
    x, y = value("x", N, 4, SIZE), value("y", N, 4, SIZE)
    before = fold(graph(g, [x], [norm(g, g("Relu", x), y)]))
    assert op_types(fuse_conv_batch_norm(before)) == {"Relu": 1, "BatchNormalization": 1}


def test_a_chain_is_fused_pair_by_pair() -> None:
    g = builder()
    x, middle, y = value("x", N, 2, 8, 8), value("middle", N, 4, 4, 4), value("y", N, 4, 4, 4)
    first = norm(g, conv(g, x), middle)
    second = g("Conv", g("Relu", first), weight("more", 4, 4, 1, 1))
    before = graph(g, [x], [norm(g, second, y, epsilon=0.3)])
    after = deduplicate(fold(fuse_conv_batch_norm(fold(before))))
    assert op_types(after) == {"Conv": 2, "Relu": 1}
    assert_same(before, after, {"x": draw(2, 2, 8, 8)}, rtol=1e-5)
