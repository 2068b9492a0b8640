"""Out of loops: what is the same in every pass is computed once, before the loop. TensorRT refuses an inner loop that is.

Requires: standard operators. Ensures: the same outputs under the same names.
"""

from __future__ import annotations

from dataclasses import replace

from lamina.compiler.graph import Graph, Node, Value
from lamina.compiler.passes.deduplicate import RANDOM


def hoist_constant(graph: Graph) -> Graph:
    """Take what no pass changes out of every Scan and Loop, the innermost first."""
    graph = graph.with_bodies(hoist_constant)
    return replace(graph, nodes=tuple(part for node in graph.nodes for part in _hoisted(node)))


def _hoisted(node: Node) -> list[Node]:
    """What stands before the loop, and the loop."""
    if node.op_type not in ("Scan", "Loop") or node.body is None:
        return [node]
    changing = {id(v) for v in node.body.inputs}
    before: list[Node] = []
    kept: list[Node] = []
    for inner in node.body.nodes:
        if _is_random(inner) or any(id(v) in changing for v in inner.reads()):
            changing.update(id(v) for v in inner.outputs)
            kept.append(inner)
        else:
            before.append(inner)
    # What a loop gives is made in its body.
    made = {id(v) for inner in before for v in inner.outputs}
    copies = {id(v): Value(f"{v.name}/kept", v.type) for v in node.body.outputs if id(v) in made}
    kept += [Node("Identity", (v,), (copies[id(v)],), node.origin) for v in {id(v): v for v in node.body.outputs if id(v) in made}.values()]
    outputs = tuple(copies.get(id(v), v) for v in node.body.outputs)
    return [*before, replace(node, body=replace(node.body, nodes=tuple(kept), outputs=outputs))]


def _is_random(node: Node) -> bool:
    return node.op_type in RANDOM or any(inner.op_type in RANDOM for body in node.bodies for inner in body.all_nodes())
