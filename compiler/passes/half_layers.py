"""Layers that multiply in 16 bits, between conversions: TensorRT takes the dtypes of a graph as they are, and fuses the conversions.

Requires: standard operators, folded. Ensures: the same outputs up to rounding, and all values around these layers in float32. Weights
are converted by operators, which `fold` turns into derived tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, final

from lamina.compiler.builder import Builder
from lamina.compiler.graph import STANDARD, Derived, Graph, Node, Parameter, leaves
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.precision import HALF
from lamina.compiler.weights.derived import stand_in
from lamina.schema.dims import Precision


def half_layers(graph: Graph, precisions: Mapping[str, Precision]) -> Graph:
    """Products and convolutions with weights that are to be in float16 or bfloat16, by name; in bodies too."""
    numbers = count(1)
    return _Halving(precisions, lambda base: f"{base}_half_{next(numbers)}").graph(graph)


@final
@dataclass(frozen=True, slots=True)
class _Halving:
    precisions: Mapping[str, Precision]
    fresh: Callable[[str], str]

    def graph(self, graph: Graph) -> Graph:
        return replace(graph, nodes=tuple(made for node in graph.nodes for made in self.node(node)))

    def node(self, node: Node) -> list[Node]:
        dtype = self.dtype(node)
        if dtype is None:
            return [node.with_bodies(self.graph)]
        g = Builder(node.origin, node.outputs[0].name, {}, self.fresh)
        inputs = [None if value is None else g("Cast", value, to=ONNX_DTYPE[dtype]) for value in node.inputs]
        attributes: Mapping[str, Any] = node.attributes
        g("Cast", g(node.op_type, *inputs, **attributes), to=ONNX_DTYPE["float32"])
        return [*(replace(part, op=node.op) for part in g.nodes[:-1]), replace(g.nodes[-1], outputs=node.outputs, op=node.op)]

    def dtype(self, node: Node) -> str | None:
        """What a node multiplies in, if it is a layer that has something to say; float32 weights alone become narrower."""
        if node.domain != STANDARD or node.op_type not in ("Conv", "MatMul", "Gemm"):
            return None
        weight = node.inputs[1]
        if not isinstance(weight, Parameter | Derived) or stand_in(weight).array.dtype.name != "float32":
            return None
        said = {self.precisions[leaf.name] for leaf in leaves(weight) if leaf.name in self.precisions}
        return next(iter(said)) if len(said) == 1 and said <= set(HALF) else None  # several that became one are alike
