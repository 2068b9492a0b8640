"""Conv followed by BatchNormalization becomes one Conv with scaled weights.

Requires: standard operators, inference. Ensures: the same outputs up to rounding. The new weights are computed by
operators on parameters, which `fold` turns into derived tensors.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Constant, Derived, Graph, Node, Parameter, Value

_FIXED = (Parameter, Constant, Derived)


def fuse_conv_batch_norm(graph: Graph) -> Graph:
    """Fold each BatchNormalization whose only input is a Conv that nothing else reads, in bodies too."""
    graph = graph.with_bodies(fuse_conv_batch_norm)
    readers = Counter(id(v) for n in graph.nodes for v in n.reads())
    readers.update(id(v) for v in graph.outputs)
    makers = {id(v): n for n in graph.nodes for v in n.outputs}
    replaced: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node.op_type != "BatchNormalization" or node.inputs[0] is None:
            continue
        conv = makers.get(id(node.inputs[0]))
        if conv is not None and conv.op_type == "Conv" and readers[id(node.inputs[0])] == 1 and _fixed(conv, 1) and _fixed(node, 1):
            replaced[id(conv)], replaced[id(node)] = [], _fused(conv, node)
    nodes = [m for n in graph.nodes for m in replaced.get(id(n), [n])]
    return replace(graph, nodes=tuple(nodes))


def _fixed(node: Node, start: int) -> bool:
    return all(v is None or isinstance(v, _FIXED) for v in node.inputs[start:])


def _fused(conv: Node, norm: Node) -> list[Node]:
    """y = conv(x, w * s) + (b - mean) * s + beta, with s = gamma / sqrt(var + eps)."""
    x, weight = conv.inputs[0], conv.inputs[1]
    bias = conv.inputs[2] if len(conv.inputs) > 2 else None
    gamma, beta, mean, variance = (_known(v) for v in norm.inputs[1:5])
    epsilon: Any = norm.attributes.get("epsilon", 1e-5)
    g = Builder(conv.origin, norm.outputs[0].name, {}, _counted())
    scale = g("Div", gamma, g("Sqrt", g("Add", variance, g.constant(epsilon, gamma.dtype))))
    rank = _known(weight).rank
    scaled = g("Mul", _known(weight), g("Reshape", scale, g.ints(-1, *[1] * (rank - 1))))
    shifted = g("Sub", bias, mean) if bias is not None else g("Neg", mean)
    offset = g("Add", g("Mul", shifted, scale), beta)
    return [*g.nodes, Node("Conv", (x, scaled, offset), norm.outputs, conv.origin, conv.attributes)]


def _known(value: Value | None) -> Value:
    assert value is not None
    return value


def _counted() -> Any:
    count = 0

    def fresh(base: str) -> str:
        nonlocal count
        count += 1
        return f"{base}_folded_{count}"

    return fresh
