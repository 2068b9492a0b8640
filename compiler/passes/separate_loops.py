"""What TensorRT asks of loops: a Scan carries something, and a body reads no output of another loop directly.

Requires: standard operators. Ensures: the same outputs under the same names.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lamina.compiler.graph import Constant, Graph, Node, Value
from lamina.schema.dims import TensorType

_ZERO = TensorType("float32", (1,))


def separate_loops(graph: Graph) -> Graph:
    """Give a zero to each Scan that carries nothing, and bodies copies of what loops give; in bodies too."""
    graph = graph.with_bodies(separate_loops)
    given = {id(v): v for n in graph.nodes if n.body is not None for v in n.outputs}
    taken = [given[id(v)] for n in graph.nodes if n.body is not None for v in n.body.free() if id(v) in given]
    copies = {id(v): Value(f"{v.name}/copy", v.type) for v in taken}
    nodes: list[Node] = []
    for node in graph.nodes:
        body = node.body and node.body.mapped(lambda v: copies.get(id(v), v))
        node = replace(node, body=body)
        nodes.append(_carrying(node) if node.op_type == "Scan" else node)
        nodes += [Node("Identity", (v,), (copies[id(v)],), node.origin) for v in node.outputs if id(v) in copies]
    return replace(graph, nodes=tuple(nodes))


def _carrying(node: Node) -> Node:
    if node.body is None or node.attributes["num_scan_inputs"] != len(node.inputs):
        return node
    name = node.outputs[0].name
    start = Constant(f"{name}/zero", _ZERO, np.zeros(1, np.float32))
    before, after, end = (Value(f"{name}/{part}", _ZERO) for part in ("before", "after", "end"))
    copy = Node("Identity", (before,), (after,), node.origin)
    inner = node.body
    body = replace(inner, inputs=(before, *inner.inputs), outputs=(after, *inner.outputs), nodes=(*inner.nodes, copy))
    return replace(node, inputs=(start, *node.inputs), outputs=(end, *node.outputs), body=body)
