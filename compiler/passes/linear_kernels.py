"""Products with fixed matrices become our own kernel, where ONNX Runtime computes them and the processor has a matrix unit.

Elsewhere the kernel is what defines it: the operators that were there.

Requires: standard operators, folded. Ensures: the same outputs, up to rounding. Bodies stay, as a step of a loop has few rows; and so does
what decodes with a cache, which reads each matrix for one row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import final

from lamina.compiler.builder import Builder
from lamina.compiler.graph import STANDARD, Constant, Derived, Graph, Node, Parameter, Value
from lamina.compiler.weights.derived import float_shape
from lamina.schema.carried import LENGTH

_FIXED = (Parameter, Constant, Derived)
_LEAST = 1 << 15  # numbers of a matrix: smaller ones were not measured to be faster


@final
@dataclass(frozen=True, slots=True)
class _Product:
    """`x @ weight + bias`, and the operators that compute it, of which the last gives the result."""

    x: Value
    weight: Value
    bias: Value | None
    transposed: bool
    nodes: tuple[Node, ...]


def linear_kernels(graph: Graph) -> Graph:
    """Rewrite the products, each with the vector that is added to it."""
    if any(value.name.startswith(LENGTH) for value in graph.inputs):
        return graph
    reads = Counter(id(v) for node in graph.nodes for v in node.reads())
    reads.update(id(v) for v in graph.outputs)
    readers = {id(v): node for node in graph.nodes for v in node.inputs if v is not None}
    found = [p for node in graph.nodes if (p := _product(node, reads, readers)) is not None]
    ends = {id(p.nodes[-1]): p for p in found}
    gone = {id(node) for p in found for node in p.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        if id(node) in ends:
            nodes += _kernel(ends[id(node)])
        elif id(node) not in gone:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _product(node: Node, reads: Counter[int], readers: dict[int, Node]) -> _Product | None:
    if node.domain != STANDARD or node.op_type not in ("MatMul", "Gemm") or not set(node.attributes) <= {"transB"}:
        return None
    x, weight, bias = (*node.inputs, None)[:3]
    transposed = bool(node.attributes.get("transB"))
    shape = float_shape(weight)
    if x is None or weight is None or isinstance(x, _FIXED) or len(shape) != 2 or shape[0] * shape[1] < _LEAST:
        return None
    if transposed and reads[id(weight)] > 1:
        return None  # its transpose would be another matrix in the file
    width = shape[0] if transposed else shape[1]
    if bias is not None:
        return _Product(x, weight, bias, transposed, (node,)) if float_shape(bias) == (width,) else None
    after = readers.get(id(node.outputs[0])) if reads[id(node.outputs[0])] == 1 else None
    if after is not None and after.domain == STANDARD and after.op_type == "Add":
        vector = next((v for v in after.inputs if v is not None and v is not node.outputs[0]), None)
        if vector is not None and float_shape(vector) == (width,):
            return _Product(x, weight, vector, transposed, (node, after))
    return _Product(x, weight, None, transposed, (node,))


def _kernel(product: _Product) -> list[Node]:
    last, numbers = product.nodes[-1], count(1)
    g = Builder(last.origin, last.outputs[0].name, {}, lambda base: f"{base}_{next(numbers)}")
    weight = g.transpose(product.weight, 1, 0) if product.transposed else product.weight

    def define(inner: Builder, x: Value, weight: Value, *bias: Value) -> Sequence[Value]:
        made = inner("MatMul", x, weight)
        return [inner("Add", made, *bias) if bias else made]

    g.native("Linear", (product.x, weight, *([] if product.bias is None else [product.bias])), define)
    *before, kernel = g.nodes
    return [*before, replace(kernel, outputs=last.outputs)]
