"""Folding: operators that read only weights and constants leave the graph and become derived tensors.

Requires: standard operators. Ensures: the same outputs; what depends on constants alone is a Constant.
"""

from __future__ import annotations

from lamina.compiler.graph import STANDARD, Constant, Derived, Graph, Node, Parameter, Value
from lamina.compiler.weights.derived import EVALUABLE, constant_outputs

_FIXED = (Parameter, Constant, Derived)


def fold(graph: Graph) -> Graph:
    """Fold what can be evaluated; train-time randomness and operators that are not evaluable stay."""
    replaced: dict[int, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(replaced.get(id(v), v) if v is not None else None for v in node.inputs)
        node = Node(node.op_type, inputs, node.outputs, node.origin, node.attributes, node.domain, node.op)
        if not _foldable(node):
            nodes.append(node)
        elif all(v is None or isinstance(v, Constant) for v in inputs):
            replaced.update(zip((id(v) for v in node.outputs), constant_outputs(node), strict=True))
        else:
            replaced.update({id(v): Derived(v.name, v.type, node) for v in node.outputs})
    outputs = tuple(replaced.get(id(v), v) for v in graph.outputs)
    return Graph(graph.name, graph.inputs, outputs, tuple(nodes))


def _foldable(node: Node) -> bool:
    present = [v for v in node.inputs if v is not None]
    return bool(present) and node.domain == STANDARD and node.op_type in EVALUABLE and all(isinstance(v, _FIXED) for v in present)
