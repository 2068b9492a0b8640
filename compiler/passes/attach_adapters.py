"""Low-rank adapters that are given when the model runs: a linear layer adds `x @ a @ b`, where a and b are inputs.

Requires: a graph of ops. Ensures: the same with two inputs more for each layer that is adapted, of a rank that all share.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from lamina.compiler.elaborate.lookup import need_op
from lamina.compiler.graph import LAMINA, Graph, Node, Parameter, Value
from lamina.schema.carried import ADAPTER, RANK
from lamina.schema.dims import Dim, Symbol, TensorType

MOST = 4096
SYMBOL = Symbol(RANK, 1, 16, MOST)


def attach_adapters(graph: Graph, weights: Collection[str]) -> Graph:
    """Adapt the linear layers with weights of these paths, in bodies too."""
    inputs = {name: _inputs(node) for name, node in linear_layers(graph).items() if name in weights}
    attached = _attached(graph, inputs)
    return replace(attached, inputs=(*attached.inputs, *(value for pair in inputs.values() for value in pair)))


def linear_layers(graph: Graph) -> dict[str, Node]:
    """A linear layer for each weight that is a parameter of one, by path."""
    found: dict[str, Node] = {}
    for node in graph.all_nodes():
        if (weight := _weight(node)) is not None:
            found.setdefault(weight.name, node)
    return found


def _weight(node: Node) -> Parameter | None:
    if node.op is None or node.op.name != "linear" or not isinstance(weight := node.inputs[1], Parameter):
        return None
    return weight


def _inputs(node: Node) -> tuple[Value, Value]:
    """a [in, rank] and b [rank, out]."""
    weight = _weight(node)
    assert weight is not None
    rows, columns = weight.shape
    rank, path = Dim.of(SYMBOL), weight.name.removesuffix(".weight")
    return (
        Value(f"{ADAPTER}{path}.a", TensorType(weight.dtype, (columns, rank))),
        Value(f"{ADAPTER}{path}.b", TensorType(weight.dtype, (rank, rows))),
    )


def _attached(graph: Graph, inputs: dict[str, tuple[Value, Value]]) -> Graph:
    graph = graph.with_bodies(lambda body: _attached(body, inputs))
    return replace(graph, nodes=tuple(part for node in graph.nodes for part in _adapted(node, inputs)))


def _adapted(node: Node, inputs: dict[str, tuple[Value, Value]]) -> list[Node]:
    """The layer, two products and a sum, which gives what the layer gave."""
    weight = _weight(node)
    if weight is None or weight.name not in inputs:
        return [node]
    (x, *_), (y,), (a, b) = node.inputs, node.outputs, inputs[weight.name]
    assert x is not None
    plain = Value(f"{y.name}/plain", y.type)
    low = Value(f"{y.name}/low", x.type and x.type.with_shape((*x.shape[:-1], a.shape[1])))
    high = Value(f"{y.name}/high", y.type)

    def made(op: str, left: Value, right: Value, output: Value) -> Node:
        return Node(op, (left, right), (output,), node.origin, {"weights": ()}, LAMINA, need_op(op).op())

    return [replace(node, outputs=(plain,)), made("matmul", x, a, low), made("matmul", low, b, high), made("add", plain, high, y)]
