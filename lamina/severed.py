"""Graphs that give every value by its name, those that the bodies of loops make too, and that take each of them from outside instead.

What a body makes is a stack with a slice for each pass, along a new first axis. A Loop within a loop stays closed: its passes may be
as many as they like, each time others, and stacks of them would not fit together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.compiler.graph import Constant, Graph, Node, Value
from lamina.schema.dims import Dim, Symbol, TensorType


@dataclass(frozen=True, slots=True)
class Cut:
    """A value by its name: what the graph makes of it, and what those get that read it."""

    name: str
    made: Value
    given: Value


def opened(graph: Graph, names: Collection[str], *, inside: bool = False) -> tuple[Graph, dict[str, Value]]:
    """The graph, and which value of its own holds each of these: the value itself, or a stack."""
    found = {v.name: v for node in graph.nodes for v in node.outputs if v.name in names}
    nodes = []
    for node in graph.nodes:
        if node.body is not None and _opens(node.op_type, inside):
            body, inner = opened(node.body, names, inside=True)
            stacks = {name: _stack(v) for name, v in inner.items()}
            node = _giving(replace(node, body=body), inner.values(), stacks.values())
            found |= stacks
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes)), found


def open_loops(graph: Any, names: Collection[str], *, inside: bool = False) -> dict[str, str]:
    """The same in a file's GraphProto, in place: what its value is called that holds each. What a loop runs over may be one of them."""
    found = {name: name for node in graph.node for name in node.output if name in names}
    found |= {value.name: value.name for value in graph.input if inside and value.name in names}
    for node in graph.node:
        if _opens(node.op_type, inside):
            attributes = {attribute.name: attribute for attribute in node.attribute}
            body = attributes["body"].g
            inner = open_loops(body, names, inside=True)
            for value in inner.values():
                body.node.add(op_type="Identity", input=[value], output=[f"{value}/copy"])
                body.output.add(name=f"{value}/copy")
                node.output.append(f"{value}/each")
            if "scan_output_axes" in attributes:
                attributes["scan_output_axes"].ints.extend([0] * len(inner))
            found |= {name: f"{value}/each" for name, value in inner.items()}
    return found


def severed(graph: Graph, given: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Graph, list[Cut]]:
    """A graph that makes each of these values from the others as they are given: an input and an output for each."""
    whole, cuts = _severed(graph, given, inside=False)
    return replace(whole, inputs=(*whole.inputs, *(cut.given for cut in cuts)), outputs=tuple(cut.made for cut in cuts)), cuts


def _severed(graph: Graph, given: Mapping[str, np.ndarray[Any, Any]], *, inside: bool) -> tuple[Graph, list[Cut]]:
    """The graph with its inputs and outputs as they were, though these may be given."""
    cuts = [Cut(v.name, v, Value(f"{v.name}'", v.type)) for node in graph.nodes for v in node.outputs if v.name in given]
    swapped = {id(cut.made): cut.given for cut in cuts}
    nodes = []
    for node in graph.mapped(lambda v: swapped.get(id(v), v)).nodes:
        if node.body is not None and _opens(node.op_type, inside):
            node, more = _severed_loop(node, node.body, given)
            cuts += more
        nodes.append(node)
    return replace(graph, outputs=tuple(swapped.get(id(v), v) for v in graph.outputs), nodes=tuple(nodes)), cuts


def _severed_loop(node: Node, body: Graph, given: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Node, list[Cut]]:
    body, inner = _severed(body, given, inside=True)
    if not inner:
        return node, []
    cuts = [Cut(cut.name, _stack(cut.made), _stack(cut.given)) for cut in inner]
    slices, stacks = [cut.given for cut in inner], [cut.given for cut in cuts]
    passes = len(given[cuts[0].name])
    node = _over(node, body, slices, stacks) if node.op_type == "Scan" else _numbered(node, body, slices, stacks, passes)
    return _giving(node, [cut.made for cut in inner], [cut.made for cut in cuts]), cuts


def _over(node: Node, body: Graph, slices: Sequence[Value], stacks: Sequence[Value]) -> Node:
    """A Scan that runs over these stacks, too."""
    count, axes = node.attributes["num_scan_inputs"], node.attributes["scan_input_axes"]
    assert isinstance(count, int)
    assert isinstance(axes, tuple)
    attributes = {**node.attributes, "num_scan_inputs": count + len(slices), "scan_input_axes": (*axes, *[0] * len(slices))}
    body = replace(body, inputs=(*body.inputs, *slices))
    return replace(node, inputs=(*node.inputs, *stacks), body=body, attributes=attributes)


def _numbered(node: Node, body: Graph, slices: Sequence[Value], stacks: Sequence[Value], passes: int) -> Node:
    """A Loop of so many passes, whatever its condition comes to, each of which takes its own slices."""
    number, going, *_ = body.inputs
    bound = Constant(f"{node.outputs[0].name}/passes", TensorType("int64", ()), np.array(passes))
    still = Value(f"{going.name}/still", going.type)
    taken = [Node("Gather", (stack, number), (part,), node.origin, {"axis": 0}) for stack, part in zip(stacks, slices, strict=True)]
    nodes = (Node("Identity", (going,), (still,), node.origin), *taken, *body.nodes)
    return replace(node, inputs=(bound, *node.inputs[1:]), body=replace(body, outputs=(still, *body.outputs[1:]), nodes=nodes))


def _giving(node: Node, made: Collection[Value], stacks: Collection[Value]) -> Node:
    """A loop that also stacks what its body makes, under names of their own, since they may be results already."""
    body = node.body
    assert body is not None
    copies = [Node("Identity", (v,), (Value(f"{v.name}/copy", v.type),), node.origin) for v in made]
    body = replace(body, outputs=(*body.outputs, *(copy.outputs[0] for copy in copies)), nodes=(*body.nodes, *copies))
    attributes = dict(node.attributes)
    if isinstance(axes := attributes.get("scan_output_axes"), tuple):
        attributes["scan_output_axes"] = (*axes, *[0] * len(copies))
    return replace(node, outputs=(*node.outputs, *stacks), body=body, attributes=attributes)


def _opens(op_type: str, inside: bool) -> bool:
    return op_type == "Scan" or (op_type == "Loop" and not inside)


def _stack(value: Value) -> Value:
    passes = Dim.of(Symbol("passes", min=1, opt=1, max=2**31))
    return Value(f"{value.name}/each", value.type and value.type.with_shape((passes, *value.shape)))
