"""Out of loops: a product of a step's slice with what is the same in all steps becomes one product of the whole sequence before the loop.

Requires: standard operators. Ensures: the same outputs. One product over all steps reads its matrix once, and a recurrent cell is
left with the half of its work that depends on its state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lamina.compiler.graph import Graph, Node, Value
from lamina.schema.dims import TensorType

_PLAIN = (("alpha", 1.0), ("beta", 1.0), ("transA", 0))


def hoist_products(graph: Graph) -> Graph:
    """Take products out of every Scan, the innermost first."""
    graph = graph.with_bodies(hoist_products)
    return replace(graph, nodes=tuple(part for node in graph.nodes for part in _hoisted(node)))


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a loop runs over: each step sees a slice of it along an axis."""

    whole: Value
    axis: int
    slice: Value


def _hoisted(node: Node) -> list[Node]:
    """What stands before the loop, and the loop."""
    if node.op_type != "Scan" or node.body is None:
        return [node]
    sequences, carried = _sequences(node), len(node.inputs) - _count(node)
    outside, kept = {id(v) for v in node.body.free()}, {id(v) for v in node.body.outputs}
    before: list[Node] = []
    made: dict[int, _Sequence] = {}
    for inner in node.body.nodes:
        found = sequences.get(id(inner.inputs[0])) if inner.inputs else None
        if found is not None and id(inner.outputs[0]) not in kept and _is_product(inner, found, outside):
            nodes, made[id(inner.outputs[0])] = _whole_product(inner, found)
            before += nodes
    if not made:
        return [node]
    remaining = tuple(n for n in node.body.nodes if id(n.outputs[0]) not in made)
    body = replace(node.body, nodes=remaining).mapped(lambda v: made[id(v)].slice if id(v) in made else v)
    read = {id(v) for n in body.nodes for v in n.reads()} | {id(v) for v in body.outputs}
    used = [s for s in (*sequences.values(), *made.values()) if id(s.slice) in read]
    body = replace(body, inputs=(*body.inputs[:carried], *(s.slice for s in used)))
    attributes = {**node.attributes, "num_scan_inputs": len(used), "scan_input_axes": tuple(s.axis for s in used)}
    inputs = (*node.inputs[:carried], *(s.whole for s in used))
    return [*before, replace(node, inputs=inputs, body=body, attributes=attributes)]


def _count(node: Node) -> int:
    count = node.attributes["num_scan_inputs"]
    assert isinstance(count, int)
    return count


def _sequences(node: Node) -> Mapping[int, _Sequence]:
    assert node.body is not None
    count, axes = _count(node), node.attributes["scan_input_axes"]
    assert isinstance(axes, tuple)
    triples = zip(node.inputs[-count:], axes, node.body.inputs[-count:], strict=True)
    return {id(part): _Sequence(whole, axis, part) for whole, axis, part in triples if whole is not None and isinstance(axis, int)}


def _is_product(node: Node, sequence: _Sequence, outside: set[int]) -> bool:
    """Whether it multiplies the slice by a matrix from outside the loop, and adds at most a vector from there."""
    if node.op_type not in ("MatMul", "Gemm") or any(
        node.attributes.get(k, d) != d for k, d in (("alpha", 1.0), ("beta", 1.0), ("transA", 0))
    ):
        return False
    _, *others = (v for v in node.inputs if v is not None)
    known = all(id(v) in outside and v.type is not None and v.type.rank == rank for v, rank in zip(others, (2, 1), strict=False))
    return known and sequence.slice.type is not None and sequence.axis < sequence.slice.type.rank


def _whole_product(node: Node, sequence: _Sequence) -> tuple[list[Node], _Sequence]:
    """The product of the whole sequence, and the sequence that the loop runs over instead."""
    name, type_ = node.outputs[0].name, sequence.slice.type
    matrix, *bias = (v for v in node.inputs[1:] if v is not None)
    assert type_ is not None
    assert matrix.type is not None
    transposed = bool(node.attributes.get("transB", 0))
    part = TensorType(type_.dtype, (*type_.shape[:-1], matrix.type.shape[0 if transposed else 1]))
    nodes: list[Node] = []

    def add(op: str, *inputs: Value, **attributes: Any) -> Value:
        nodes.append(Node(op, inputs, (Value(f"{name}/{op}"),), node.origin, attributes))
        return nodes[-1].outputs[0]

    matrix = add("Transpose", matrix, perm=(1, 0)) if transposed else matrix
    whole = add("MatMul", sequence.whole, matrix)
    for vector in bias:
        whole = add("Add", whole, vector)
    return nodes, _Sequence(whole, sequence.axis, Value(name, part))
