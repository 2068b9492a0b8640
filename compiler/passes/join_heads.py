"""Attention between transposes becomes Attention over [N, T, heads * d], which needs none.

Split heads are Reshape [N, T, heads, d] and Transpose; merged heads are the same backwards. ONNX Runtime reads and writes the joined
layout as fast as the split one, so the transposes are pure loss: 6 to 9% of an attention layer.

Requires: standard operators whose values at op borders know their types. Ensures: the same outputs. What nothing reads any more stays
for `deduplicate` to drop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from lamina.compiler.graph import Graph, Node, Value

_SWAP = (0, 2, 1, 3)


def join_heads(graph: Graph) -> Graph:
    """Rewrite each Attention whose inputs come from split heads and whose output only goes to merged ones, in bodies too."""
    graph = graph.with_bodies(join_heads)
    makers = {id(v): n for n in graph.nodes for v in n.outputs}
    users = {id(v): n for n in graph.nodes for v in n.inputs if v is not None}
    readers = Counter(id(v) for n in graph.nodes for v in n.reads())
    readers.update(id(v) for v in graph.outputs)
    replaced: dict[int, Node] = {}
    for node in graph.nodes:
        if node.op_type != "Attention":
            continue
        joined = [before_split(v, makers) for v in node.inputs[:3]]
        merged = after_merge(node.outputs[0], users, readers)
        if merged is not None and all(v is not None for v in joined):
            replaced[id(merged)] = _rewritten(node, (*joined, *node.inputs[3:]), merged)
    return replace(graph, nodes=tuple(replaced.get(id(n), n) for n in graph.nodes))


def before_split(value: Value | None, makers: Mapping[int, Node]) -> Value | None:
    """The [N, T, heads * d] that this [N, heads, T, d] was split from."""
    transpose = None if value is None else makers.get(id(value))
    if transpose is None or not _swaps(transpose):
        return None
    middle = transpose.inputs[0]
    reshape = makers.get(id(middle))
    joined = reshape.inputs[0] if reshape is not None and reshape.op_type == "Reshape" else None
    return joined if joined is not None and middle is not None and _joins(middle, joined) else None


def after_merge(value: Value, users: Mapping[int, Node], readers: Mapping[int, int]) -> Node | None:
    """The Reshape that makes [N, T, heads * d] of this [N, heads, T, d], if nothing else reads what is between."""
    transpose = users.get(id(value))
    if readers[id(value)] != 1 or transpose is None or not _swaps(transpose):
        return None
    middle = transpose.outputs[0]
    reshape = users.get(id(middle))
    if readers[id(middle)] != 1 or reshape is None or reshape.op_type != "Reshape" or reshape.inputs[0] is not middle:
        return None
    return reshape if _joins(middle, reshape.outputs[0]) else None


def _swaps(node: Node) -> bool:
    return node.op_type == "Transpose" and node.attributes.get("perm") == _SWAP


def _joins(split: Value, joined: Value) -> bool:
    """Whether [N, T, heads, d] and [N, T, heads * d] are one array in two shapes."""
    if split.type is None or joined.type is None or split.rank != 4 or joined.rank != 3:
        return False
    n, t, heads, d = split.shape
    return joined.shape == (n, t, heads * d) and isinstance(heads, int)


def _rewritten(node: Node, inputs: tuple[Value | None, ...], merged: Node) -> Node:
    heads, kv_heads = (v.shape[1] for v in node.inputs[:2] if v is not None)
    assert isinstance(heads, int)
    assert isinstance(kv_heads, int)
    attributes = {**node.attributes, "q_num_heads": heads, "kv_num_heads": kv_heads}
    return Node("Attention", inputs, merged.outputs, node.origin, attributes)
