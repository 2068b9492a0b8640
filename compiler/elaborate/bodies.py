"""Blocks that are given to ops: their steps become a graph that the op applies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.compiler.body import EACH, Body
from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.inputs import Ahead
from lamina.compiler.elaborate.operands import as_tensors
from lamina.compiler.elaborate.resolve import resolve
from lamina.compiler.elaborate.scope import HERE, Scope
from lamina.compiler.elaborate.values import CALLEES, UNKNOWN, Callee, Frame, Given, Poisoned, Request
from lamina.compiler.elaborate.wants import want_of_field
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Constant, Graph, Parameter, Value
from lamina.compiler.op import Op, OpError, Weight, block_arguments
from lamina.schema.diagnostics import Fault, Span
from lamina.schema.dims import TensorType


def set_blocks(op: type[Op], slots: Mapping[str, Given], inputs: Sequence[Any], scope: Scope, span: Span, ahead: Ahead) -> None:
    """Make a graph of each block among an op's arguments, for what the op hands to it. Raises Fault where the inputs do not fit."""
    for key in block_arguments(op):
        if key in slots:
            given = slots[key]
            ahead.seen[id(given)] = _argument(op, key, given, inputs, scope, span, ahead.context)


def around(op: Op) -> dict[str, Value]:
    """What the blocks that an op is given read of the place where they are written."""
    return {name: value for key in block_arguments(type(op)) for name, value in getattr(op, key).around.items()}


def _argument(op: type[Op], key: str, given: Given, inputs: Sequence[Any], scope: Scope, span: Span, context: Context) -> Any:
    """The block's graph; UNKNOWN where it or an input is wrong; or what is not a block at all."""
    callee = context.guard(lambda: resolve(context, given, want_of_field(op, key)), given.span)
    if callee is None or not isinstance(callee, CALLEES):
        return UNKNOWN if callee is None else callee
    if any(value is UNKNOWN for value in inputs):
        return UNKNOWN
    tensors = as_tensors(context.graph, op, inputs, span)
    types = _handed(op, [None if v is None else v.type for v in tensors], span)
    return context.guard(lambda: _body(context, callee, types, scope, given), given.span) or UNKNOWN


def _handed(op: type[Op], types: Sequence[TensorType | None], span: Span) -> tuple[TensorType, ...]:
    try:
        return op.hands(*types)
    except OpError as error:
        raise Fault(error.code, f"`{op.name}`: {error.message}", span, error.hint, error.notes) from error


def _body(context: Context, callee: Callee, types: Sequence[TensorType], scope: Scope, given: Given) -> Body:
    """Run the block once, on what the op hands to it."""
    graph, inner = context.graph, scope.child(EACH)
    handed = [graph.received("given", type_, inner, given.span) for type_ in types]
    with graph.block(inner.path) as own, context.within(inner):
        values = tuple(Given(given.span, Frame(given.frame.file, {}), value=v) for v in handed)
        results = _results(context.call(callee, Request(given.span, values, label=HERE)), callee, given.span)
        nodes = graph.live(results)
    body = Graph(inner.path, tuple(handed), results, nodes)
    return _closed(callee.name, body, {path.removeprefix(inner.path).removeprefix("."): weight for path, weight in own.items()})


def _results(found: Any, callee: Callee, span: Span) -> tuple[Value, ...]:
    results = found if isinstance(found, list) else [found]
    if any(value is UNKNOWN for value in results):
        raise Poisoned
    for value in results:
        if not isinstance(value, Value):
            raise Fault("type", f"`{callee.name}` must leave a tensor, but it leaves {shown(value)}", span)
    return tuple(results)


def _closed(name: str, graph: Graph, own: Mapping[str, Parameter]) -> Body:
    """The body, which is handed its weights and what it reads of its surroundings too."""
    read = {id(v): v for v in graph.free() if not isinstance(v, Constant)}
    mine = {key: p for key, p in own.items() if id(p) in read}
    outer = [v for v in read.values() if v not in mine.values()]
    places = {id(v): Value(v.name, v.type) for v in (*mine.values(), *outer)}
    closed = graph.mapped(lambda v: places.get(id(v), v))
    weights = {
        key: Weight(p.type, p.init, p.trainable, p.origin.span if p.origin else None) for key, p in mine.items() if p.type is not None
    }
    inputs = (*graph.inputs, *places.values())
    return Body(name, Graph(graph.name, inputs, closed.outputs, closed.nodes), weights, {f"around.{v.name}": v for v in outer})
