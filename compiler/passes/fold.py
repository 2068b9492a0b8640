"""Folding: operators that read only weights and constants leave the graph and become derived tensors.

Requires: standard operators. Ensures: the same outputs under the same names, each made by an operator; what depends on constants alone
is a Constant, and so are the sizes of weights, unless it is large: then it is computed when it is written, and not held until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lamina.compiler.graph import Constant, Derived, Graph, Node, Parameter, Value
from lamina.compiler.weights.derived import constant_outputs, is_evaluable, stand_in

_FIXED = (Parameter, Constant, Derived)
_LARGEST = 1 << 20  # bytes of a Constant that folding makes


def fold(graph: Graph) -> Graph:
    """Fold what can be evaluated; train-time randomness and operators that are not evaluable stay.

    What a body computes from weights alone leaves the body: it is computed once.
    """
    replaced: dict[int, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node = node.mapped(lambda v: replaced.get(id(v), v))
        if node.bodies:
            nodes.append(node.with_bodies(fold))
        elif not _foldable(node):
            nodes.append(node)
        else:
            replaced.update(zip((id(v) for v in node.outputs), _folded(node), strict=True))
    folded = {id(v): v for v in graph.outputs if id(v) in replaced}
    origins = {id(v): n.origin for n in graph.nodes for v in n.outputs}
    nodes += [Node("Identity", (replaced[i],), (v,), origins[i]) for i, v in folded.items()]
    return replace(graph, nodes=tuple(nodes))


def _folded(node: Node) -> Sequence[Value]:
    if node.op_type == "Identity":
        return [v for v in node.inputs if v is not None]
    if node.op_type in ("Shape", "Size"):  # numbers that do not depend on the weights', and that ONNX Runtime wants in the file
        node = replace(node, inputs=tuple(stand_in(v) if isinstance(v, Parameter | Derived) else v for v in node.inputs))
    constant = all(v is None or isinstance(v, Constant) for v in node.inputs)
    constants = constant_outputs(node, _LARGEST) if constant else None
    return constants or tuple(Derived(v.name, v.type, node) for v in node.outputs)


def _foldable(node: Node) -> bool:
    present = [v for v in node.inputs if v is not None]
    return bool(present) and is_evaluable(node) and all(isinstance(v, _FIXED) for v in present)
