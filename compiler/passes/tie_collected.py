"""What TensorRT asks of loops besides: what a Scan collects depends on a slice, from which the library derives how often it runs.

Requires: standard operators. Ensures: the same outputs under the same names.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lamina.compiler.graph import Constant, Graph, Node, Origin, Value
from lamina.compiler.numeric import numpy_dtype
from lamina.schema.dims import TensorType


def tie_collected(graph: Graph) -> Graph:
    """Let each value that a Scan collects without a slice in it pass through a choice that a slice of true makes; in bodies too."""
    graph = graph.with_bodies(tie_collected)
    return replace(graph, nodes=tuple(part for node in graph.nodes for part in _tied(node)))


def _tied(node: Node) -> list[Node]:
    """What stands before the loop, and the loop."""
    if node.op_type != "Scan" or node.body is None:
        return [node]
    count, axes = node.attributes["num_scan_inputs"], node.attributes["scan_input_axes"]
    assert isinstance(count, int)
    assert isinstance(axes, tuple)
    assert isinstance(axes[0], int)
    body, carried = node.body, len(node.inputs) - count
    sliced = _made_of(body, body.inputs[carried:])
    loose = [v for v in body.outputs[carried:] if id(v) not in sliced]
    if not loose:
        return [node]
    name, sequence = node.outputs[0].name, node.inputs[carried]
    assert sequence is not None
    length = Value(f"{name}/length", TensorType("int64", (1,)))
    always, now = Value(f"{name}/always"), Value(f"{name}/now", TensorType("bool", ()))
    before = [
        Node("Shape", (sequence,), (length,), node.origin, {"start": axes[0], "end": axes[0] + 1}),
        Node("ConstantOfShape", (length,), (always,), node.origin, {"value": np.array([True])}),
    ]
    chosen = {id(v): Value(f"{v.name}/{name}", v.type) for v in loose}
    choices = [_choice(v, now, chosen[id(v)], node.origin) for v in {id(v): v for v in loose}.values()]
    outputs = (*body.outputs[:carried], *(chosen.get(id(v), v) for v in body.outputs[carried:]))
    body = replace(body, inputs=(*body.inputs, now), outputs=outputs, nodes=(*body.nodes, *choices))
    attributes = {**node.attributes, "num_scan_inputs": count + 1, "scan_input_axes": (*axes, 0)}
    return [*before, replace(node, inputs=(*node.inputs, always), body=body, attributes=attributes)]


def _made_of(body: Graph, given: tuple[Value, ...]) -> set[int]:
    """What a body makes of some of its inputs, by identity."""
    found = {id(v) for v in given}
    for node in body.nodes:
        if any(id(v) in found for v in node.reads()):
            found.update(id(v) for v in node.outputs)
    return found


def _choice(value: Value, now: Value, result: Value, origin: Origin) -> Node:
    """The value, since `now` is true."""
    if value.dtype == "bool":
        return Node("And", (value, now), (result,), origin)
    zero = Constant(f"{value.name}/none", TensorType(value.dtype, ()), np.zeros((), numpy_dtype(value.dtype)))
    return Node("Where", (now, value, zero), (result,), origin)
