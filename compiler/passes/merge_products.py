"""Products with fixed matrices, in sums and in chains, become one: a static adapter of low rank costs nothing when it runs.

What fixed matrices, vectors and numbers make of a value is `x @ weight + bias`; so is what they make of that, and the sum of two of one x.
`y = x @ w + b; y + y @ a @ c + x @ p @ q` becomes `x @ (w + w @ a @ c + p @ q) + (b + b @ a @ c)`.

Requires: standard operators. Ensures: the same outputs up to rounding, with no more multiply-adds; in bodies too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

from lamina.compiler.builder import Builder
from lamina.compiler.graph import STANDARD, Constant, Derived, Graph, Node, Parameter, Value
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.shapes import Shapes

_FIXED = (Parameter, Constant, Derived)


@dataclass(frozen=True, slots=True)
class _Affine:
    """`x @ weight + bias`, as what a value is.

    `made` are the operators that compute weight and bias; `replaced` those that compute the value itself, each with its multiply-adds for
    a row of x. It is `flat` where x is a matrix, and a product of it a Gemm.
    """

    x: Value
    weight: Value
    bias: Value | None
    rows: int
    columns: int
    made: tuple[Node, ...]
    replaced: Mapping[Node, int]
    flat: bool

    @property
    def saved(self) -> int:
        """Multiply-adds for a row of x."""
        return sum(self.replaced.values()) - self.rows * self.columns

    def merges(self, readers: Mapping[int, int]) -> bool:
        """Whether one product does for several, of which nothing else reads what lies between, and is no more work than they."""
        *inner, _ = self.replaced
        reads = Counter(id(v) for node in self.replaced for v in node.reads())
        several = sum(macs > 0 for macs in self.replaced.values()) > 1
        return several and self.saved >= 0 and all(readers[id(v)] == reads[id(v)] for node in inner for v in node.outputs)


_Maps = Mapping[int, _Affine]  # what one value is of others, by their identities


def merge_products(graph: Graph) -> Graph:
    """Merge, from the last, what is the largest that can be."""
    graph = graph.with_bodies(merge_products)
    readers = Counter(id(v) for node in graph.nodes for v in node.reads())
    readers.update(id(v) for v in graph.outputs)
    maps: dict[int, _Maps] = {}
    for node in graph.nodes:
        if node.domain == STANDARD:
            maps[id(node.outputs[0])] = {id(found.x): found for found in _maps(node, maps)}
    nodes: dict[Node, list[Node]] = {node: [node] for node in graph.nodes}
    for node in reversed(graph.nodes):
        found = [m for m in maps.get(id(node.outputs[0]), {}).values() if nodes[node] and m.merges(readers)]
        if found:
            best = max(found, key=lambda m: m.saved)
            nodes |= {gone: [] for gone in best.replaced} | {node: _merged(best, node)}
    return replace(graph, nodes=tuple(part for node in graph.nodes for part in nodes[node]))


def _merged(found: _Affine, node: Node) -> list[Node]:
    bias = [found.bias] if found.bias is not None else []
    made = list(dict.fromkeys(found.made))
    if found.flat:
        return [*made, replace(node, op_type="Gemm", inputs=(found.x, found.weight, *bias), attributes={})]
    if not bias:
        return [*made, replace(node, op_type="MatMul", inputs=(found.x, found.weight))]
    plain = Value(f"{node.outputs[0].name}/plain")
    product = replace(node, op_type="MatMul", inputs=(found.x, found.weight), outputs=(plain,))
    return [*made, product, replace(node, op_type="Add", inputs=(plain, *bias))]


def _maps(node: Node, known: Mapping[int, _Maps]) -> Iterator[_Affine]:
    """What an operator makes of its input, and of what that is made of."""
    if node.op_type in ("MatMul", "Gemm"):
        step = _step(node)
        if step is not None:
            yield step
            yield from (_chain(first, step, node) for first in known.get(id(step.x), {}).values())
    elif node.op_type in ("Add", "Mul"):
        left, right = (v for v in node.inputs if v is not None)
        left, right = (right, left) if isinstance(left, _FIXED) else (left, right)
        for x, first in known.get(id(left), {}).items():
            second = known.get(id(right), {}).get(x)
            if isinstance(right, _FIXED) and _shape(right) in [(first.columns,), *([(), (1,)] if node.op_type == "Mul" else [])]:
                yield _change(first, right, node)
            elif second is not None and node.op_type == "Add" and first.columns == second.columns:
                yield _sum(first, second, node)


def _step(node: Node) -> _Affine | None:
    """A product with a fixed matrix, or with the rows of one."""
    x, matrix, *bias = node.inputs
    if x is None or not isinstance(matrix, _FIXED) or len(shape := _shape(matrix)) != 2 or not all(isinstance(v, _FIXED) for v in bias):
        return None
    g = _builder(node)
    if node.op_type == "Gemm":
        if dict(node.attributes) != {"transB": 1} or any(_shape(v) != shape[:1] for v in bias if v is not None):
            return None
        weight, (columns, rows) = g("Transpose", matrix, perm=(1, 0)), shape
    else:
        weight, (rows, columns) = matrix, shape
    return _Affine(x, weight, next(iter(bias), None), rows, columns, tuple(g.nodes), {node: rows * columns}, node.op_type == "Gemm")


def _chain(first: _Affine, step: _Affine, node: Node) -> _Affine:
    g = _builder(node)
    bias = None if first.bias is None else _added(g, g("MatMul", first.bias, step.weight), step.bias)
    weight, made = g("MatMul", first.weight, step.weight), (*first.made, *step.made)
    return _affine(first, g, weight, step.bias if bias is None else bias, made, {**first.replaced, **step.replaced}, step.columns)


def _change(first: _Affine, fixed: Value, node: Node) -> _Affine:
    """A number or a vector that is multiplied, or a vector that is added."""
    g, replaced = _builder(node), {**first.replaced, node: 0}
    if node.op_type == "Add":
        return _affine(first, g, first.weight, _added(g, fixed, first.bias), first.made, replaced, first.columns)
    bias = None if first.bias is None else g("Mul", first.bias, fixed)
    return _affine(first, g, g("Mul", first.weight, fixed), bias, first.made, replaced, first.columns)


def _sum(first: _Affine, second: _Affine, node: Node) -> _Affine:
    g, made, replaced = _builder(node), (*first.made, *second.made), {**first.replaced, **second.replaced, node: 0}
    bias = second.bias if first.bias is None else _added(g, first.bias, second.bias)
    return _affine(first, g, g("Add", first.weight, second.weight), bias, made, replaced, first.columns)


def _affine(
    first: _Affine, g: Builder, weight: Value, bias: Value | None, made: tuple[Node, ...], replaced: Mapping[Node, int], columns: int
) -> _Affine:
    """Of what `first` is of; the builder's operators come after those that were made before."""
    return replace(first, weight=weight, bias=bias, columns=columns, made=(*made, *g.nodes), replaced=replaced)


def _added(g: Builder, left: Value, right: Value | None) -> Value:
    return left if right is None else g("Add", left, right)


def _builder(node: Node) -> Builder:
    numbers = count(1)
    return Builder(node.origin, node.outputs[0].name, {}, lambda base: f"{base}_merged_{next(numbers)}")


def _shape(value: Value) -> tuple[int, ...]:
    assert isinstance(value, _FIXED)
    return tensor_of(value, Shapes()).shape
