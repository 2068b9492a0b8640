"""Deduplication: operators (and derived tensors) that compute the same thing are computed once; what nothing reads is dropped.

Requires: standard operators, outputs made by them. Ensures: the same outputs under the same names, no node without a reader.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import numpy as np

from lamina.compiler.graph import Constant, Derived, Graph, Node, Value, derived_under
from lamina.compiler.numeric import digest

_SMALL = 1024  # bytes
RANDOM = ("Dropout", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")


def deduplicate(graph: Graph) -> Graph:
    """Share equal constants, derived tensors and nodes, then drop dead nodes."""
    return _deduplicated(graph, _Merger({}, {}, {}))


def _deduplicated(graph: Graph, merger: _Merger) -> Graph:
    nodes = [n for n in (merger.node(n) for n in graph.nodes) if n is not None]
    # An output keeps its own name, so a duplicate that is an output is a copy of the first.
    origins = {id(v): n.origin for n in graph.nodes for v in n.outputs}
    copies = [Node("Identity", (merger.value(v),), (v,), origins[id(v)]) for v in graph.outputs if merger.value(v) is not v]
    return prune(replace(graph, nodes=tuple(nodes + copies)))


def prune(graph: Graph) -> Graph:
    """Drop the nodes that no output depends on."""
    needed = {id(v) for v in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(id(v) in needed for v in node.outputs):
            needed.update(id(v) for v in node.reads())
            kept.append(node)
    return replace(graph, nodes=tuple(reversed(kept)))


class _Merger:
    """Maps values to the first equal one. Weights are seen alike everywhere; what a body computes is seen in that body only."""

    def __init__(self, same: dict[int, Value], weights: dict[Hashable, tuple[Value, ...]], seen: dict[Hashable, tuple[Value, ...]]) -> None:
        self.same, self.weights, self.seen = same, weights, seen
        self.kept: list[Any] = []  # keeps merged objects alive, so that an id is never reused

    def value(self, value: Value) -> Value:
        """The first value equal to this one."""
        if id(value) not in self.same:
            if isinstance(value, Constant):
                self._merge(value, _content(value.array))
            elif isinstance(value, Derived):
                for part in derived_under(value, self.same):
                    self._merge(part, (part.node.outputs.index(_output(part)), self._key(part.node)))
        return self.same.get(id(value), value)

    def _merge(self, value: Value, key: Hashable) -> None:
        self.same[id(value)] = self.weights.setdefault(key, (value,))[0]
        self.kept.append(value)

    def node(self, node: Node) -> Node | None:
        """The node with merged inputs, or None when an equal one exists."""
        fresh = node.mapped(self.value)
        if fresh.bodies:
            return fresh.with_bodies(self._inside)
        if node.op_type in RANDOM or node.domain == "torch":
            return fresh
        key = self._key(fresh)
        first = self.seen.setdefault(key, node.outputs)
        if first is node.outputs:
            return fresh
        self.same.update({id(a): b for a, b in zip(node.outputs, first, strict=True)})
        self.kept.append(node)
        return None

    def _inside(self, body: Graph) -> Graph:
        inner = _Merger(self.same, self.weights, dict(self.seen))
        self.kept.append(inner)
        return _deduplicated(body, inner)

    def _key(self, node: Node) -> Hashable:
        inputs = tuple(None if v is None else id(self.value(v)) for v in node.inputs)
        attributes = tuple(sorted((k, _hashable(v)) for k, v in node.attributes.items()))
        return (node.domain, node.op_type, inputs, attributes, len(node.outputs))


def _output(value: Derived) -> Value:
    """The output of its operator that a derived tensor stands for."""
    return next(v for v in value.node.outputs if v.name == value.name)


def _hashable(value: Any) -> Hashable:
    return _content(value) if isinstance(value, np.ndarray) else (type(value).__name__, value)


def _content(array: np.ndarray[Any, Any]) -> Hashable:
    """A key that equal arrays share. It does not hold a large one's bytes."""
    return (array.dtype, array.shape, array.tobytes()) if array.nbytes <= _SMALL else digest(array)
