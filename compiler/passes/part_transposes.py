"""A Reshape that changes nothing stands between a Transpose that moves the first axis behind the others and a product in float16.

ONNX Runtime 1.32 has no such product on the CPU: it puts a Cast in between, then fuses Transpose and product around it and crashes
(MatmulTransposeFusion), whatever the sizes.

Requires: standard operators, for files that ONNX Runtime opens. Ensures: the same outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Graph, Node, Value

_HALF = "float16"


def part_transposes(graph: Graph) -> Graph:
    """Part them in a graph that has float16, in bodies too."""
    values = (v for node in graph.all_nodes() for v in (*node.inputs, *node.outputs))
    if not any(v is not None and v.type is not None and v.dtype == _HALF for v in (*graph.inputs, *values)):
        return graph
    return _parted(graph, count(1))


def _parted(graph: Graph, numbers: count[int]) -> Graph:
    graph = graph.with_bodies(lambda body: _parted(body, numbers))
    makers = {id(v): node for node in graph.nodes for v in node.outputs}
    nodes: list[Node] = []
    for node in graph.nodes:
        g = Builder(node.origin, f"{node.outputs[0].name}/parted", {}, lambda base: f"{base}_{next(numbers)}")
        inputs = tuple(_apart(g, v, makers) for v in node.inputs) if node.op_type == "MatMul" and _half(node) else node.inputs
        nodes += [*g.nodes, replace(node, inputs=inputs)] if g.nodes else [node]
    return replace(graph, nodes=tuple(nodes))


def _half(node: Node) -> bool:
    """Whether it is a product in float16, as far as is known."""
    known = {v.dtype for v in (*node.inputs, *node.outputs) if v is not None and v.type is not None}
    return not known or _HALF in known


def _apart(g: Builder, value: Value | None, makers: Mapping[int, Node]) -> Value | None:
    maker = makers.get(id(value))
    if value is None or maker is None or maker.op_type != "Transpose":
        return value
    axes = maker.attributes.get("perm")
    if not isinstance(axes, tuple) or not _moves_the_first(axes):
        return value
    made: Value = g("Reshape", value, g.ints(*(0,) * len(axes)))  # 0: as it is
    return made


def _moves_the_first(axes: tuple[object, ...]) -> bool:
    """Whether the first axis becomes the last or the last but one, and the others keep their order."""
    others = tuple(range(1, len(axes)))
    return len(axes) > 2 and axes in ((*others, 0), (*others[:-1], 0, others[-1]))
