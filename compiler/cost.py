"""Multiply-adds of graphs of ops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lamina.compiler.graph import Constant, Graph, Node
from lamina.schema.dims import Size


def macs_of_graph(graph: Graph) -> Size:
    """Of all its nodes, and of its loops' bodies as often as they run."""
    total: Size = 0
    for node, times in repeated(graph.nodes):
        total = total + times * macs_of(node)
    return total


def macs_of(node: Node) -> Size:
    """Of one node, not of a loop's body."""
    if node.op is None:
        return 0
    weights = node.attributes["weights"]
    assert isinstance(weights, tuple)
    inputs = [v.type if v is not None else None for v in node.inputs[: len(node.inputs) - len(weights)]]
    types = tuple(v.type for v in node.outputs if v.type is not None)
    return node.op.macs(inputs, types[0] if len(types) == 1 else types)


def steps(graph: Graph) -> list[Node]:
    """The nodes that a spec's steps made: all but those at the end, which only give the outputs their names."""
    outputs = {id(v) for v in graph.outputs}
    return [node for node in graph.nodes if not any(id(v) in outputs for v in node.outputs)]


def repeated(nodes: Sequence[Node], times: Size = 1) -> Iterator[tuple[Node, Size]]:
    """Each node and how often it runs; after a Scan or a Loop those of its body, a Loop's as often as it may."""
    for node in nodes:
        yield node, times
        if node.body is not None:
            yield from repeated(steps(node.body), times * _passes(node))


def _passes(node: Node) -> Size:
    first = node.inputs[0]
    if isinstance(first, Constant) and node.op_type == "Loop":
        return int(first.array)
    axes: Any = node.attributes["scan_input_axes"]
    sequence = node.inputs[-len(axes)]
    assert sequence is not None
    length: Size = sequence.shape[axes[0]]
    return length
