"""Our kernel of linear attention reads and writes sequences with heads before or after the steps: transposes around it go.

Its bit mask `joined` says of which inputs (and, by bit 6, of y) the heads come after the steps, as linear layers give and take them.

Requires: operators whose values at op borders know their types. Ensures: the same outputs. What nothing reads any more stays for
`deduplicate` to drop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from lamina.compiler.graph import NATIVE, Graph, Node, Value

_SEQUENCES, _Y = 5, 6  # inputs that are sequences; the bit of y
_SWAP = (0, 2, 1, 3)
_BY_ROWS = ("RMSNormalization", "LayerNormalization")  # of the last axis, whatever stands before it


def absorb_transposes(graph: Graph) -> Graph:
    """Rewrite each LinearAttention of ours, in bodies too."""
    graph = graph.with_bodies(absorb_transposes)
    makers = {id(v): n for n in graph.nodes for v in n.outputs}
    users = {id(v): n for n in graph.nodes for v in n.reads()}
    reads = Counter(id(v) for n in graph.nodes for v in n.reads())
    reads.update(id(v) for v in graph.outputs)
    changed: dict[int, Node] = {}
    for node in graph.nodes:
        if node.domain == NATIVE and node.op_type == "LinearAttention":
            changed |= _around(_inputs(node, makers), node, users, reads)
    return replace(graph, nodes=tuple(changed.get(id(n), n) for n in graph.nodes))


def _inputs(node: Node, makers: Mapping[int, Node]) -> Node:
    """The node with what its sequences were transposed from."""
    for index, value in enumerate(node.inputs[:_SEQUENCES]):
        maker = makers.get(id(value))
        if value is not None and maker is not None and maker.op_type == "Transpose" and maker.attributes.get("perm") == _SWAP:
            node = _joined(node, index, inputs=(*node.inputs[:index], maker.inputs[0], *node.inputs[index + 1 :]))
    return node


def _around(node: Node, before: Node, users: Mapping[int, Node], reads: Mapping[int, int]) -> dict[int, Node]:
    """By the ids of the nodes before: the node, and if y goes to a Transpose, perhaps by way of a norm, these without it."""
    chain, current = [], before.outputs[0]
    while reads[id(current)] == 1 and (user := users.get(id(current))) is not None and user.op_type in ("Transpose", *_BY_ROWS):
        chain.append(user)
        if user.op_type == "Transpose" or user.attributes.get("axis", -1) != -1 or user.inputs[0] is not current:
            break
        current = user.outputs[0]
    if not chain or chain[-1].attributes.get("perm") != _SWAP:
        return {id(before): node}
    *norms, transpose = chain
    # the last of them gives what the transpose gave, and what is between stands in the other order
    results = [*(_swapped(n.outputs[0]) for n in (before, *norms[:-1])), transpose.outputs[0]] if norms else [transpose.outputs[0]]
    found = {id(before): _joined(node, _Y, outputs=(results[0], *node.outputs[1:]))}
    for norm, value, result in zip(norms, results, results[1:], strict=False):
        found[id(norm)] = replace(norm, inputs=(value, *norm.inputs[1:]), outputs=(result,))
    found[id(transpose)] = replace(transpose, outputs=(Value(f"{transpose.outputs[0].name}/unused"),))
    return found


def _swapped(value: Value) -> Value:
    n, heads, steps, width = value.shape
    return Value(f"{value.name}/joined", value.type and value.type.with_shape((n, steps, heads, width)))


def _joined(node: Node, bit: int, inputs: tuple[Value | None, ...] | None = None, outputs: tuple[Value, ...] | None = None) -> Node:
    """The node and the function that defines it, with one sequence whose heads come after the steps."""
    mask, function = node.attributes["joined"], node.function
    assert isinstance(mask, int)
    assert function is not None
    if bit == _Y:
        result, last = function.outputs
        swapped = Value(f"{result.name}_joined")
        swap = Node("Transpose", (result,), (swapped,), node.origin, {"perm": _SWAP})
        function = replace(function, outputs=(swapped, last), nodes=(*function.nodes, swap))
    else:
        given = function.inputs[bit]
        taken = Value(f"{given.name}_joined")
        swap = Node("Transpose", (taken,), (given,), node.origin, {"perm": _SWAP})
        places = (*function.inputs[:bit], taken, *function.inputs[bit + 1 :])
        function = replace(function, inputs=places, nodes=(swap, *function.nodes))
    attributes = {**node.attributes, "joined": mask | 1 << bit}
    return replace(node, attributes=attributes, function=function, inputs=inputs or node.inputs, outputs=outputs or node.outputs)
