"""Caches that grow by concatenation become buffers with room: a call writes behind what is there, and copies nothing.

A state that grows along a dim P is given as a buffer of any capacity, beside the input `length.P` (int64 [1]) that says how much of it is
filled. New rows go behind by TensorScatter, which works in place where past and present are one buffer, and attention is told
by its mask, or by the number of keys, where the filled part ends.

Requires: standard operators, no Identity between a state and what reads it. Ensures: the same outputs; what a state leaves is as large
as the buffer was. Only dims all of whose states are concatenated with what is new, and then read by attention alone, are changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.compiler.graph import Constant, Graph, Node, Value
from lamina.compiler.numeric import numpy_dtype
from lamina.schema.carried import LENGTH
from lamina.schema.dims import Dim, Symbol, TensorType

_LOWEST = {"float64": -1.7e308, "float32": -3.4e38, "float16": -65504.0, "bfloat16": -3.3e38}


@dataclass(frozen=True, slots=True)
class _Cache:
    """A state that grows along an axis, and the operator that makes it grow."""

    past: Value
    axis: int
    concat: Node


def preallocate_caches(graph: Graph) -> Graph:
    """Rewrite the caches of every dim that allows it."""
    for symbol in _growing(graph):
        caches = _caches(graph, symbol)
        if caches and all(cache is not None for cache in caches):
            graph = _rewritten(graph, symbol, [cache for cache in caches if cache is not None])
    return graph


def _growing(graph: Graph) -> list[Symbol]:
    """The dims along which a state's present is larger than its past."""
    found: dict[Symbol, None] = {}
    for past, present in _states(graph):
        for before, after in zip(past.shape, present.shape, strict=True):
            if before != after and isinstance(before, Dim):
                found |= dict.fromkeys(symbol for symbol in before.symbols if isinstance(symbol, Symbol))
    return list(found)


def _states(graph: Graph) -> Iterator[tuple[Value, Value]]:
    inputs, outputs = ({v.name: v for v in values} for values in (graph.inputs, graph.outputs))
    return ((inputs[state.past], outputs[state.present]) for state in graph.states)


def _caches(graph: Graph, symbol: Symbol) -> list[_Cache | None]:
    """The states that grow along the dim; None for one that does more than that."""
    users: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for value in node.reads():
            users.setdefault(id(value), []).append(node)
    size = Dim.of(symbol)
    return [_cache(past, present, past.shape.index(size), users) for past, present in _states(graph) if size in past.shape]


def _cache(past: Value, present: Value, axis: int, users: Mapping[int, Sequence[Node]]) -> _Cache | None:
    readers = [node for node in users.get(id(past), ()) if node.op_type != "Shape"]
    concat = readers[0] if len(readers) == 1 else None
    if concat is None or concat.op_type != "Concat" or concat.outputs[0] is not present or len(concat.inputs) != 2:
        return None
    if concat.inputs[0] is not past or concat.attributes["axis"] not in (axis, axis - past.rank) or axis != past.rank - 2:
        return None
    keyed = all(node.op_type == "Attention" and present not in (node.inputs[0], *node.inputs[3:]) for node in users.get(id(present), ()))
    return _Cache(past, axis, concat) if keyed and past.rank == 4 else None


def _rewritten(graph: Graph, symbol: Symbol, caches: Sequence[_Cache]) -> Graph:
    """The graph with one more input, how many rows are filled."""
    length = Value(f"{LENGTH}{symbol.name}", TensorType("int64", (1,)))
    room = Dim.of(Symbol(f"{symbol.name}_room", 1, max(symbol.opt, 1), symbol.max))
    writer = _Writer(graph, length, caches, room)
    inputs = tuple(writer.renamed.get(id(v), v) for v in graph.inputs)
    outputs = tuple(writer.renamed.get(id(v), v) for v in graph.outputs)
    nodes = [made for node in graph.nodes for made in writer.node(node)]
    return replace(graph, inputs=(*inputs, length), outputs=outputs, nodes=tuple(nodes))


class _Writer:
    """Writes the operators of one graph anew."""

    def __init__(self, graph: Graph, length: Value, caches: Sequence[_Cache], room: Dim) -> None:
        self.length = length
        self.first = caches[0]  # whose buffer tells the room and the rows of all
        self.concats = {id(cache.concat): cache for cache in caches}
        self.renamed: dict[int, Value] = {}
        for cache in caches:
            for value in (cache.past, cache.concat.outputs[0]):
                shape = (*value.shape[: cache.axis], room, *value.shape[cache.axis + 1 :])
                self.renamed[id(value)] = Value(value.name, TensorType(value.dtype, shape))
        self.pasts = {id(cache.past): cache.axis for cache in caches}
        self.presents = {id(cache.concat.outputs[0]): cache for cache in caches}

    def node(self, node: Node) -> list[Node]:
        if id(node) in self.concats:
            return self._scatter(node, self.concats[id(node)])
        axis = self.pasts.get(id(node.inputs[0])) if node.op_type == "Shape" else None
        if axis is not None:
            return self._size(node, axis)
        cache = next((self.presents[id(v)] for v in node.inputs if id(v) in self.presents), None)
        if cache is not None:
            return self._attention(node, cache)
        return [node.mapped(lambda v: self.renamed.get(id(v), v))]

    def _scatter(self, node: Node, cache: _Cache) -> list[Node]:
        """New rows behind the filled ones, at the same place in every row of the batch."""
        past, present = self.renamed[id(cache.past)], self.renamed[id(node.outputs[0])]
        rows, places = Value(f"{past.name}/rows"), Value(f"{past.name}/places")
        return [
            Node("Shape", (self.buffer,), (rows,), node.origin, {"start": 0, "end": 1}),
            Node("Expand", (self.length, rows), (places,), node.origin),
            Node("TensorScatter", (past, node.inputs[1], places), (present,), node.origin, {"axis": cache.axis}),
        ]

    @property
    def buffer(self) -> Value:
        return self.renamed[id(self.first.past)]

    def _size(self, node: Node, axis: int) -> list[Node]:
        """A size of the past: along the axis that grows it is the length."""
        if (node.attributes.get("start"), node.attributes.get("end")) == (axis, axis + 1):
            return [Node("Identity", (self.length,), node.outputs, node.origin)]
        if axis in range(*slice(node.attributes.get("start", 0), node.attributes.get("end")).indices(4)):
            raise AssertionError("sizes are read one at a time")
        return [node.mapped(lambda v: self.renamed.get(id(v), v))]

    def _attention(self, node: Node, cache: _Cache) -> list[Node]:
        """Keys behind the filled ones are not seen."""
        inputs = [None if v is None else self.renamed.get(id(v), v) for v in node.inputs]
        name, new = node.outputs[0].name, cache.concat.inputs[1]
        if len(inputs) > 3 and inputs[3] is not None:
            nodes, inputs[3] = self._padded(node, inputs[3])
            return [*nodes, replace(node, inputs=tuple(inputs))]
        added, filled, rows, counts = (Value(f"{name}/{part}") for part in ("added", "filled", "rows", "counts"))
        nodes = [
            Node("Shape", (new,), (added,), node.origin, {"start": cache.axis, "end": cache.axis + 1}),
            Node("Add", (self.length, added), (filled,), node.origin),
            Node("Shape", (self.buffer,), (rows,), node.origin, {"start": 0, "end": 1}),
            Node("Expand", (filled, rows), (counts,), node.origin),
        ]
        return [*nodes, replace(node, inputs=(*inputs[:3], None, None, None, counts))]

    def _padded(self, node: Node, bias: Value) -> tuple[list[Node], Value]:
        """The bias, lower behind the filled keys than any mask makes it: a query that may see none of those takes their mean alone."""
        name = node.outputs[0].name
        room, seen, more, pads, padded = (Value(f"{name}/{part}") for part in ("room", "seen", "more", "pads", "bias"))
        query = node.inputs[0]
        assert query is not None
        nothing, last = _constant(f"{name}/nothing", [0], "int64"), _constant(f"{name}/last", [-1], "int64")
        nodes = [
            Node("Shape", (self.buffer,), (room,), node.origin, {"start": self.first.axis, "end": self.first.axis + 1}),
            Node("Shape", (bias,), (seen,), node.origin, {"start": -1}),
            Node("Sub", (room, seen), (more,), node.origin),
            Node("Concat", (nothing, more), (pads,), node.origin, {"axis": 0}),
            Node("Pad", (bias, pads, _constant(f"{name}/lowest", _LOWEST[query.dtype], query.dtype), last), (padded,), node.origin),
        ]
        return nodes, padded


def _constant(name: str, value: Any, dtype: str) -> Constant:
    array = np.asarray(value, numpy_dtype(dtype))
    return Constant(name, TensorType(dtype, array.shape), array)
