"""Ops to operators: each op is replaced by its definition, or by the first fast path for the target that accepts.

Requires: a graph of `lamina` nodes. Ensures: none is left, every op's output value keeps its identity, name and type, and every operator
knows its op.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from typing import final

from lamina.compiler.builder import Builder, Dims
from lamina.compiler.graph import LAMINA, Graph, Node, Origin, Value
from lamina.compiler.op import Op, paths_for
from lamina.schema.diagnostics import Fault, SpecError
from lamina.schema.dims import Dim, Symbol


def decompose(
    graph: Graph, target: str, dims: Dims | None = None, counter: Iterator[int] | None = None, left_out: Container[str] = ()
) -> Graph:
    """Lower for `onnx`, `onnxruntime`, `tensorrt`, `torch` or `module`; any other name gives plain definitions. Raises SpecError.

    Of a graph inside another, `dims` says where named dims can be read, and `counter` numbers the names of both. `left_out` are fast paths
    that are not taken: `attention.operator`.
    """
    return _Decomposition(target, _dim_sources(graph) if dims is None else dims, counter or itertools.count(1), left_out).graph(graph)


@final
@dataclass(slots=True)
class _Decomposition:
    """One graph and its bodies: their names are told apart, and a body reads what is around it by its new name."""

    target: str
    dims: Dims
    counter: Iterator[int]
    left_out: Container[str] = ()
    alias: dict[int, Value] = field(default_factory=dict)
    looped: bool = False  # whether it is a body

    def graph(self, graph: Graph) -> Graph:
        nodes = [made for node in graph.nodes for made in self._node(node)]
        origins = {id(v): n.origin for n in graph.nodes for v in n.outputs}
        outputs = tuple(_named_output(v, self.alias, nodes, origins[id(v)]) for v in graph.outputs)
        return replace(graph, outputs=outputs, nodes=tuple(nodes))

    def _node(self, node: Node) -> list[Node]:
        if node.bodies:
            inputs = tuple(v and self.alias.get(id(v), v) for v in node.inputs)
            return [replace(node.with_bodies(replace(self, looped=True).graph), inputs=inputs)]
        node = node.mapped(lambda v: self.alias.get(id(v), v))
        return self._lower(node, node.op) if node.op is not None and node.domain == LAMINA else [node]

    def _lower(self, node: Node, op: Op) -> list[Node]:
        names = node.attributes["weights"]
        assert isinstance(names, tuple)
        split = len(node.inputs) - len(names)
        weights = {str(k): v for k, v in zip(names, node.inputs[split:], strict=True)}
        for path in paths_for(type(op), self.target):
            form = op.name if path == "define" else f"{op.name}.{path}"
            if form in self.left_out:
                continue
            builder = Builder(replace(node.origin, form=form), node.origin.path, self.dims, self._fresh, self._inner, looped=self.looped)
            try:
                result = getattr(op, path)(builder, *node.inputs[:split], **weights)
            except Fault as fault:
                raise SpecError([fault.at(node.origin.span)]) from fault
            if result is not NotImplemented:
                made = [part if part.op is not None else replace(part, op=op) for part in builder.nodes]
                return _adopt(node, made, result if isinstance(result, tuple) else (result,), self.alias)
        raise TypeError(f"the definition of {op.name} declined")

    def _fresh(self, base: str) -> str:
        return f"{base}_{next(self.counter)}"

    def _inner(self, graph: Graph, dims: Dims) -> Graph:
        """The operators of a block that an op applies."""
        return decompose(graph, self.target, dims, self.counter, self.left_out)


def _adopt(node: Node, made: list[Node], results: tuple[Value, ...], alias: dict[int, Value]) -> list[Node]:
    """Give the definition's results the identity of the op's outputs; a result that the definition did not make is an alias."""
    produced = {id(v) for n in made for v in n.outputs}
    rename: dict[int, Value] = {}
    for mine, result in zip(node.outputs, results, strict=True):
        if id(result) in produced and id(result) not in rename:
            rename[id(result)] = mine
        else:
            alias[id(mine)] = rename.get(id(result), result)
    return [n.mapped(lambda v: rename.get(id(v), v), tuple(rename.get(id(v), v) for v in n.outputs)) for n in made]


def _named_output(value: Value, alias: dict[int, Value], nodes: list[Node], origin: Origin) -> Value:
    """An output that is only another name for a value is copied, so that it has a name of its own."""
    if id(value) not in alias:
        return value
    nodes.append(Node("Identity", (alias[id(value)],), (value,), origin))
    return value


def _dim_sources(graph: Graph) -> Dims:
    """Where each named dim can be read: an input and the axis at which it stands alone."""
    found: Dims = {}
    for value in graph.inputs:
        for axis, size in enumerate(value.shape):
            for symbol in size.symbols if isinstance(size, Dim) else ():
                if isinstance(symbol, Symbol) and size == Dim.of(symbol):
                    found.setdefault(symbol.name, (value, axis))
    return found
