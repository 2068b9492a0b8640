"""Identity operators vanish: their readers read what they copied, and an output's name moves to the operator that makes it.

Requires: standard operators. Ensures: the same outputs under the same names; an Identity stays only where an output is an
input, a weight, or a second name for another output.
"""

from __future__ import annotations

from dataclasses import replace

from lamina.compiler.graph import STANDARD, Graph, Value


def drop_identity(graph: Graph) -> Graph:
    """Remove what Identity operators can be removed, in bodies too."""
    graph = graph.with_bodies(drop_identity)
    outputs = {id(v) for v in graph.outputs}
    made = {id(v) for n in graph.nodes for v in n.outputs}
    replaced: dict[int, Value] = {}
    dropped: set[int] = set()
    for node in graph.nodes:
        if node.op_type != "Identity" or node.domain != STANDARD or node.inputs[0] is None:
            continue
        source, target = _resolve(node.inputs[0], replaced), node.outputs[0]
        if id(target) not in outputs:
            replaced[id(target)] = source
        elif id(source) in made and id(source) not in outputs:
            replaced[id(source)] = target
        else:
            continue
        dropped.add(id(node))
    nodes = tuple(
        n.mapped(lambda v: _resolve(v, replaced), tuple(_resolve(v, replaced) for v in n.outputs))
        for n in graph.nodes
        if id(n) not in dropped
    )
    return replace(graph, nodes=nodes)


def _resolve(value: Value, replaced: dict[int, Value]) -> Value:
    while id(value) in replaced:
        value = replaced[id(value)]
    return value
