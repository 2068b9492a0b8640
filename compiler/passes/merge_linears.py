"""Linear layers of one value whose weights are kept in blocks become one layer, and a split of what it gives.

A step of a decoder spends its time on starting kernels as much as in them: queries, keys and values cost one start, not three.

Requires: a graph of ops. Ensures: the same outputs.
"""

from __future__ import annotations

from dataclasses import replace

from lamina.compiler.blocked import Blocked, Joined
from lamina.compiler.elaborate.lookup import need_op
from lamina.compiler.graph import LAMINA, Graph, Node, Value
from lamina.schema.dims import TensorType


def merge_linears(graph: Graph) -> Graph:
    """Merge them wherever there are several, in bodies too."""
    graph = graph.with_bodies(merge_linears)
    groups: dict[tuple[object, ...], list[Node]] = {}
    for node in graph.nodes:
        if (key := _key(node)) is not None:
            groups.setdefault(key, []).append(node)
    firsts = {id(nodes[0]): nodes for nodes in groups.values() if len(nodes) > 1}
    gone = {id(node) for nodes in firsts.values() for node in nodes}
    kept = ((_merged(firsts[id(n)]) if id(n) in firsts else [n]) for n in graph.nodes if id(n) in firsts or id(n) not in gone)
    return replace(graph, nodes=tuple(node for nodes in kept for node in nodes))


def _key(node: Node) -> tuple[object, ...] | None:
    """What layers share that can be merged."""
    if node.op is None or node.op.name != "linear" or node.attributes["weights"] != ("weight",):
        return None
    x, weight = node.inputs
    return (id(x), weight.layout) if isinstance(weight, Blocked) else None


def _merged(nodes: list[Node]) -> list[Node]:
    """One layer in the place of the first, and the split."""
    first = nodes[0]
    x, pieces = first.inputs[0], [node.inputs[1] for node in nodes]
    assert x is not None
    weight = Joined.of([piece for piece in pieces if isinstance(piece, Blocked)])
    rows = weight.shape[0]
    whole = Value(f"{first.outputs[0].name}/joined", TensorType(x.dtype, (*x.shape[:-1], rows)))
    linear = need_op("linear").op.model_validate({"out": rows, "bias": False})
    split = need_op("split").op.model_validate({"parts": [node.outputs[0].shape[-1] for node in nodes]})
    return [
        Node("linear", (x, weight), (whole,), first.origin, first.attributes, LAMINA, linear),
        Node("split", (whole,), tuple(node.outputs[0] for node in nodes), first.origin, {"weights": ()}, LAMINA, split),
    ]
