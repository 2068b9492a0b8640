"""Products of one value with fixed matrices that are added become one: a static adapter of low rank costs nothing when it runs.

Requires: standard operators. Ensures: the same outputs. `x @ w + (x @ a @ b) * s` becomes `x @ (w + (a @ b) * s)`, in bodies too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lamina.compiler.graph import STANDARD, Constant, Derived, Graph, Node, Parameter, Value

_FIXED = (Parameter, Constant, Derived)


@dataclass(frozen=True, slots=True)
class _Product:
    """`x @ weight + bias`, as what a value is; `nodes` are those that make the weight, and `steps` how many products it takes.

    It is `flat` where x is a matrix, and a product of it a Gemm.
    """

    x: Value
    weight: Value
    nodes: tuple[Node, ...] = ()
    steps: int = 1
    bias: Value | None = None
    flat: bool = False


def merge_products(graph: Graph) -> Graph:
    """Merge them wherever a sum has two, one of which is of low rank."""
    graph = graph.with_bodies(merge_products)
    makers = {id(v): node for node in graph.nodes for v in node.outputs}
    readers = Counter(id(v) for node in graph.nodes for v in node.reads())
    readers.update(id(v) for v in graph.outputs)
    nodes = (part for node in graph.nodes for part in _merged(node, makers, readers))
    return replace(graph, nodes=tuple(nodes))


def _merged(node: Node, makers: Mapping[int, Node], readers: Mapping[int, int]) -> list[Node]:
    if node.op_type != "Add" or node.domain != STANDARD:
        return [node]
    sides = [v for v in node.inputs if v is not None]
    found = [_product(v, makers) if readers[id(v)] == 1 else None for v in sides]
    first, second = found if len(found) == 2 else (None, None)
    if first is None or second is None or first.x is not second.x or max(first.steps, second.steps) < 2:
        return [node]
    biases = [p.bias for p in (first, second) if p.bias is not None]
    if len(biases) == 2:
        return [node]
    total, plain = (Value(f"{node.outputs[0].name}/{part}") for part in ("weight", "plain"))
    united = Node("Add", (first.weight, second.weight), (total,), node.origin)
    if first.flat:
        whole = Node("Gemm", (first.x, total, *biases), node.outputs, node.origin, op=node.op)
        return [*first.nodes, *second.nodes, united, whole]
    product = Node("MatMul", (first.x, total), (plain,) if biases else node.outputs, node.origin, op=node.op)
    shifted = [Node("Add", (plain, biases[0]), node.outputs, node.origin, op=node.op)] if biases else []
    return [*first.nodes, *second.nodes, united, product, *shifted]


def _product(value: Value, makers: Mapping[int, Node]) -> _Product | None:
    """What a value is, if it is a chain of products with fixed matrices, perhaps times a fixed number, or with a fixed vector added."""
    node = makers.get(id(value))
    if node is None or node.domain != STANDARD:
        return None
    if node.op_type == "Gemm":
        return _gemm(node, makers)
    if len(node.inputs) != 2:
        return None
    left, right = node.inputs
    assert left is not None
    assert right is not None
    if node.op_type == "MatMul" and isinstance(right, _FIXED):
        inner = _product(left, makers)
        return _Product(left, right) if inner is None or inner.bias else _joined(inner, "MatMul", right, node, inner.steps + 1)
    fixed, other = (left, right) if isinstance(left, _FIXED) else (right, left)
    inner = _product(other, makers) if isinstance(fixed, _FIXED) else None
    if inner is None or inner.bias is not None:
        return None
    if node.op_type == "Mul" and isinstance(fixed, Constant) and fixed.array.size == 1:
        return _joined(inner, "Mul", fixed, node, inner.steps)
    return replace(inner, bias=fixed) if node.op_type == "Add" and fixed.type is not None and fixed.rank == 1 else None


def _gemm(node: Node, makers: Mapping[int, Node]) -> _Product | None:
    """Of a matrix, by the rows of another one."""
    x, rows, *bias = node.inputs
    if x is None or not isinstance(rows, _FIXED) or dict(node.attributes) != {"transB": 1}:
        return None
    weight = Value(f"{node.outputs[0].name}/transposed")
    turned = Node("Transpose", (rows,), (weight,), node.origin, {"perm": (1, 0)})
    inner = _product(x, makers)
    if inner is None or inner.bias is not None:
        return _Product(x, weight, (turned,), bias=bias[0] if bias else None, flat=True)
    chain = replace(inner, nodes=(*inner.nodes, turned))
    return replace(_joined(chain, "MatMul", weight, node, inner.steps + 1), bias=bias[0] if bias else None)


def _joined(inner: _Product, op: str, right: Value, node: Node, steps: int) -> _Product:
    made = Value(f"{node.outputs[0].name}/{op}")
    return _Product(inner.x, made, (*inner.nodes, Node(op, (inner.weight, right), (made,), node.origin)), steps, flat=inner.flat)
