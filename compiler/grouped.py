"""Operators on the rows of all experts at once, which lie in groups: a product by each expert's own matrix is one operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from lamina.compiler.batched import ELEMENTWISE
from lamina.compiler.builder import Builder
from lamina.compiler.graph import STANDARD, Constant, Graph, Node, Parameter, Value

_PANEL = 32  # columns that the kernel reads together

Own = tuple[Value, ...]  # what differs from expert to expert: of each its own
Multiply = Callable[[Builder, Value, Value, Own, "Matrix"], Value]  # rows, loads and matrices to products


@final
@dataclass(frozen=True, slots=True)
class Matrix:
    """What is known of experts' matrices: they are [outputs, inputs] where `transposed`, else [inputs, outputs]."""

    inputs: int
    outputs: int
    transposed: bool


@final
@dataclass(frozen=True, slots=True)
class Groups:
    """Rows [R, D] in groups, one after the other: `loads` [n] says how many each has, `numbers` [R] of which group each row is."""

    rows: Value
    loads: Value
    numbers: Value
    count: int
    multiply: Multiply


class _Unknown(Exception):
    """There is no rule."""


def grouped(g: Builder, graph: Graph, groups: Groups, given: Value, own: Mapping[int, Own]) -> Value | None:
    """The graph's output where the rows stand for `given`, and `own` says by identity what of its values differs from expert to expert.

    None where an operator has no such form.
    """
    try:
        return _Grouping(g, groups, dict(own), {id(given): groups.rows}).output(graph)
    except _Unknown:
        return None


@final
@dataclass(frozen=True, slots=True)
class _Grouping:
    g: Builder
    groups: Groups
    own: dict[int, Own]
    made: dict[int, Value]  # in the place of a value of the graph's

    def output(self, graph: Graph) -> Value:
        for node in graph.nodes:
            self._add(node)
        (output,) = graph.outputs
        if id(output) in self.own:
            raise _Unknown
        return self._of(output)

    def _add(self, node: Node) -> None:
        read = [v for v in node.inputs if v is not None]
        if not any(id(v) in self.own for v in node.reads()):
            self.g.nodes.append(node.mapped(self._of))
            return
        if node.domain not in (STANDARD, "torch") or node.bodies or len(node.outputs) != 1:
            raise _Unknown
        (output,) = node.outputs
        to = replace(self, g=self.g.at(node.origin))
        if all(id(v) in self.own or isinstance(v, Parameter | Constant) for v in read):
            self.own[id(output)] = tuple(to._of_expert(node, number) for number in range(self.groups.count))
            return
        rule = _RULES.get(node.op_type)
        if rule is None:
            raise _Unknown
        self.made[id(output)] = rule(to, node)

    def _of_expert(self, node: Node, number: int) -> Value:
        """What one expert's own values make."""
        inputs = [v if v is None else self.own[id(v)][number] if id(v) in self.own else v for v in node.inputs]
        return _again(self.g, node, *inputs)

    def _of(self, value: Value) -> Value:
        return self.made.get(id(value), value)

    def rows(self, value: Value | None) -> Value:
        """A value that is [R, N]."""
        if value is None or id(value) in self.own or value.type is None or value.rank != 2:
            raise _Unknown
        return self._of(value)

    def operand(self, value: Value) -> Value:
        """What stands beside [R, N]: of an expert's own vectors or scalars, each row has its expert's."""
        if id(value) not in self.own:
            return self._of(value)
        if value.type is None or value.rank > 1:
            raise _Unknown
        g = self.g
        stack = g("Concat", *(g("Reshape", v, g.ints(1, -1)) for v in self.own[id(value)]), axis=0)
        return g("Gather", stack, self.groups.numbers)

    def product(self, x: Value | None, weight: Value | None, *, transposed: bool) -> Value:
        """Rows by the matrix of their expert."""
        if weight is None or id(weight) not in self.own or weight.type is None or weight.rank != 2:
            raise _Unknown
        rows = self.rows(x)
        inputs, outputs = reversed(weight.shape) if transposed else weight.shape
        assert isinstance(inputs, int)
        assert isinstance(outputs, int)
        matrix = Matrix(inputs, outputs, transposed)
        return self.groups.multiply(self.g, rows, self.groups.loads, self.own[id(weight)], matrix)


def by_kernel(g: Builder, rows: Value, loads: Value, weights: Own, matrix: Matrix) -> Value:
    """Our own kernel's product, and what defines it: one for each group, and zeros for the rows after them."""
    inputs, outputs = matrix.inputs, matrix.outputs

    def define(inner: Builder, rows: Value, loads: Value, *panels: Value) -> Sequence[Value]:
        left = inner("Sub", inner("Shape", rows, end=1), inner("ReduceSum", loads, inner.ints(0), keepdims=1))
        pieces = inner("Split", rows, inner("Concat", loads, left, axis=0), outputs=len(panels) + 1, axis=0)
        wide = [inner("Reshape", inner.transpose(panel, 1, 0, 2), inner.ints(inputs, -1)) for panel in panels]
        whole = [inner("Slice", w, inner.ints(0), inner.ints(outputs), inner.ints(1)) for w in wide]
        zeros = inner("Expand", inner.constant(0, "float32"), inner("Concat", left, inner.ints(outputs), axis=0))
        return [inner("Concat", *(inner("MatMul", *pair) for pair in zip(pieces, whole, strict=False)), zeros, axis=0)]

    panels = [_panels(g, weight, matrix) for weight in weights]
    return g.native("GroupedMatMul", (rows, loads, *panels), define, N=outputs)[0]


def by_loop(g: Builder, rows: Value, loads: Value, weights: Own, matrix: Matrix) -> Value:
    """A product for each group, in PyTorch."""
    made: Value = g.torch("grouped_matmul", rows, loads, *weights, transposed=matrix.transposed)
    return made


def _again(g: Builder, node: Node, *inputs: Value | None) -> Value:
    """The same operator on other inputs."""
    attributes: dict[str, Any] = dict(node.attributes)
    made: Value = g(node.op_type, *inputs, **attributes)
    return made


def _panels(g: Builder, weight: Value, matrix: Matrix) -> Value:
    """[panels, inputs, 32], zeros after the last column."""
    missing, inputs = -matrix.outputs % _PANEL, matrix.inputs
    ends = (missing, 0) if matrix.transposed else (0, missing)
    wide = g("Pad", weight, g.ints(0, 0, *ends), g.constant(0, "float32")) if missing else weight
    if matrix.transposed:
        return g.transpose(g("Reshape", wide, g.ints(-1, _PANEL, inputs)), 0, 2, 1)
    return g.transpose(g("Reshape", wide, g.ints(inputs, -1, _PANEL)), 1, 0, 2)


Rule = Callable[[_Grouping, Node], Value]


def _linear(to: _Grouping, node: Node) -> Value:
    x, weight, bias = (*node.inputs, None)[:3]
    y = to.product(x, weight, transposed=True)
    return y if bias is None else to.g("Add", y, to.operand(bias))


def _gemm(to: _Grouping, node: Node) -> Value:
    if dict(node.attributes) != {"transB": 1}:
        raise _Unknown
    return _linear(to, node)


def _matmul(to: _Grouping, node: Node) -> Value:
    return to.product(*node.inputs, transposed=False)


def _elementwise(to: _Grouping, node: Node) -> Value:
    for value in node.inputs:
        if value is not None and id(value) not in to.own and not isinstance(value, Parameter | Constant):
            to.rows(value)
    return _again(to.g, node, *(v and to.operand(v) for v in node.inputs))


def _normalized(to: _Grouping, node: Node) -> Value:
    """Scaled and shifted afterwards, by what an expert has of its own."""
    x, scale, shift = (*node.inputs, None)[:3]
    if node.attributes.get("axis", -1) != -1 or scale is None or scale.type is None:
        raise _Unknown
    one = to.g("Expand", to.g.constant(1, scale.dtype), to.g.size(scale.shape[0]))
    y = to.g("Mul", _again(to.g, node, to.rows(x), one), to.operand(scale))
    return y if shift is None else to.g("Add", y, to.operand(shift))


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _normalized),
    "Gemm": _gemm,
    "MatMul": _matmul,
    "nn.functional.linear": _linear,
}
