"""`scan`, `map` and `iterate`: steps that become the body of a Scan or a Loop, elaborated once.

The body reads every name of the place around it, and keeps its own assignments: only what it carries and collects leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.lookup import need_op
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import UNKNOWN, Frame, Given, Poisoned, Request
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Graph, Value
from lamina.schema import spec as s
from lamina.schema.diagnostics import Fault, Note, Span
from lamina.schema.dims import FLOATS, Size, TensorType
from lamina.schema.expressions import Expression

_MOST = 2**31 - 1
Tensors = dict[str, Value]


def scan(context: Context, step: s.Scan | s.Map, frame: Frame) -> None:
    """A recurrence along an axis, or without `carry` a map along it: a Scan."""
    what, carry = ("map", ()) if isinstance(step, s.Map) else ("scan", step.carry)
    axis = _axis(context, step.over, frame)
    sequences, starts = _tensors(context, step.values, frame), _tensors(context, carry, frame)
    length = _length(step, sequences, axis, what)
    slices = {n: _received(context, n, _slice(v, axis), step.span) for n, v in sequences.items()}
    carried = {n: _received(context, n, v.type, step.span) for n, v in starts.items()}
    inner = _inner(frame, {**slices, **carried})
    with context.graph.inside():
        context.run(step.body, inner)
        kept = [_carried(context, inner, n, starts[n], step.span) for n in starts]
        taken = [_collected(inner, variable, step.span) for _, variable in step.collect]
        body = _body(context, "scan", (*carried.values(), *slices.values()), (*kept, *taken), step.span)
    names = [*starts, *(name for name, _ in step.collect)]
    stacks = [_stacked(v.type, axis, length, step.over) for v in taken if v.type]
    attributes = {
        "num_scan_inputs": len(sequences),
        "scan_input_axes": tuple(axis % v.rank for v in sequences.values()),
        "scan_output_axes": tuple(axis % (v.rank + 1) for v in taken),
    }
    types = [*(v.type for v in starts.values() if v.type), *stacks]
    inputs = (*starts.values(), *sequences.values())
    outputs = context.graph.loop("Scan", inputs, names, types, body, attributes, context.scope, step.span)
    frame.values.update(zip(names, outputs, strict=True))


def iterate(context: Context, step: s.Iterate, frame: Frame) -> None:
    """A fixed point: a Loop until no element of what is carried changes by more than `until`, or so many times."""
    starts = _tensors(context, step.carry, frame)
    until, bound = _tolerance(context, step.until, frame), _bound(context, step.at_most, frame)
    graph, scope = context.graph, context.scope
    given = [_received(context, n, TensorType(d, ()), step.span) for n, d in (("iteration", "int64"), ("condition", "bool"))]
    carried = {n: _received(context, n, v.type, step.span) for n, v in starts.items()}
    inner = _inner(frame, carried)
    with graph.inside():
        context.run(step.body, inner)
        kept = [_carried(context, inner, n, starts[n], step.span) for n in starts]
        pairs = [(a, b) for a, b in zip(carried.values(), kept, strict=True) if a.dtype in FLOATS]
        going = given[1] if until is None else _changes(context, pairs, until, inner, step)
        body = _body(context, "iterate", (*given, *carried.values()), (going, *kept), step.span)
    limits = (graph.constant(bound, "int64"), graph.constant(True, "bool"))
    types = [v.type for v in starts.values() if v.type]
    outputs = graph.loop("Loop", (*limits, *starts.values()), list(starts), types, body, {}, scope, step.span)
    frame.values.update(zip(starts, outputs, strict=True))


def _axis(context: Context, over: Expression, frame: Frame) -> int:
    axis = formula(context, over, frame)
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise Fault("type", f"`over` must be the number of an axis, but it is {shown(axis)}", over.span)
    return axis


def _tensors(context: Context, entries: Sequence[tuple[str, Expression]], frame: Frame) -> Tensors:
    """The values of `values:` or `carry:`."""
    found = {name: formula(context, expression, frame) for name, expression in entries}
    for (name, expression), value in zip(entries, found.values(), strict=True):
        if not isinstance(value, Value):
            hint = "write `zeros([...])` or `full([...], value)` of the type that the steps leave" if isinstance(value, int | float) else ""
            raise Fault("type", f"`{name}` must be a tensor, but it is {shown(value)}", expression.span, hint)
    return found


def _length(step: s.Scan | s.Map, sequences: Tensors, axis: int, what: str) -> Size:
    """The size along the axis, in which all agree."""
    if not sequences:
        raise Fault("missing-argument", f"`{what}` needs `values` to run over", step.span, "name them: `values: {x_t: x}`")
    lengths = {}
    for (name, expression), value in zip(step.values, sequences.values(), strict=True):
        if not -value.rank <= axis < value.rank:
            hint = f"use an axis that each of the `values` has, here -{value.rank} to {value.rank - 1}"
            raise Fault("shape", f"`over` is {axis}, but `{name}` is {value.type}", expression.span, hint)
        lengths[name] = value.shape[axis]
        if lengths[name] != next(iter(lengths.values())):
            listed = ", ".join(f"{size} of `{n}`" for n, size in lengths.items())
            raise Fault(
                "shape", f"what `{what}` runs over must have one size along axis {axis}, but these differ: {listed}", expression.span
            )
    return next(iter(lengths.values()))


def _slice(value: Value, axis: int) -> TensorType:
    place = axis % value.rank
    return TensorType(value.dtype, value.shape[:place] + value.shape[place + 1 :])


def _stacked(type_: TensorType, axis: int, length: Size, over: Expression) -> TensorType:
    rank = type_.rank + 1
    if not -rank <= axis < rank:
        raise Fault("shape", f"`over` is {axis}, and {type_} cannot be stacked there", over.span)
    place = axis % rank
    return type_.with_shape((*type_.shape[:place], length, *type_.shape[place:]))


def _received(context: Context, name: str, type_: TensorType | None, span: Span) -> Value:
    assert type_ is not None
    return context.graph.received(name, type_, context.scope, span)


def _inner(frame: Frame, given: Mapping[str, Value]) -> Frame:
    return Frame(frame.file, {**frame.values, **given}, frame.arguments, dict(frame.modules), frame.globals, frame.lost)


def _carried(context: Context, inner: Frame, name: str, start: Value, span: Span) -> Value:
    """What a pass leaves of a carried tensor, which must be of the type that it starts with."""
    value = _collected(inner, name, span)
    if value.type != start.type:
        origin = context.graph.origins.get(id(value))
        notes = [Note(f"{value.type} is made here", origin.span)] if origin else []
        hint = f"start it as {value.type}, or make the steps keep {start.type}"
        raise Fault("shape", f"`{name}` starts as {start.type}, but a pass leaves {value.type}", span, hint, notes)
    return value


def _collected(inner: Frame, name: str, span: Span) -> Value:
    value = inner.values.get(name)
    if value is UNKNOWN or (value is None and inner.lost):
        raise Poisoned
    if value is None:
        raise Fault("undefined-name", f"nothing in the steps is named `{name}`", span, f"write `{name} = ...` in `do`")
    if not isinstance(value, Value):
        raise Fault("type", f"`{name}` must be a tensor, but it is {shown(value)}", span)
    return value


def _body(context: Context, name: str, inputs: Sequence[Value], results: Sequence[Value], span: Span) -> Graph:
    """The graph of what the steps added; each result under a name of its own, since one value may be several results."""
    graph, scope = context.graph, context.scope
    outputs = tuple(_renamed(context, value, span) for value in results)
    return Graph(scope.join(name), tuple(inputs), outputs, graph.live(outputs))


def _renamed(context: Context, value: Value, span: Span) -> Value:
    assert value.type is not None
    fresh = context.graph.received("result", value.type, context.scope, span)
    return context.graph.output(need_op("identity").op(), value, fresh.name, span)


def _tolerance(context: Context, until: Expression, frame: Frame) -> float | None:
    found = formula(context, until, frame)
    if found is not None and (isinstance(found, bool) or not isinstance(found, int | float) or found < 0):
        hint = "write the largest change that counts as none, or null for a fixed number of passes"
        raise Fault("type", f"`until` must be a number of at least 0, but it is {shown(found)}", until.span, hint)
    return found


def _bound(context: Context, at_most: Expression, frame: Frame) -> int:
    found = formula(context, at_most, frame)
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= _MOST:
        raise Fault("type", f"`at_most` must be a fixed whole number of at least 1, but it is {shown(found)}", at_most.span)
    return found


def _changes(context: Context, pairs: Sequence[tuple[Value, Value]], until: float, frame: Frame, step: s.Iterate) -> Value:
    """Whether any element of what is carried changed by more than `until`."""
    if not pairs:
        raise Fault(
            "dtype", "`until` asks how much what is carried changes, but none of it is floating point", step.until.span, "write null"
        )

    def call(op: str, *values: Any) -> Any:
        return context.call(need_op(op), Request(step.span, tuple(Given(step.span, frame, value=v) for v in values)))

    moved = [call("greater", call("max", call("abs", call("sub", new, old))), until) for old, new in pairs]
    going = moved[0]
    for more in moved[1:]:
        going = call("logical_or", going, more)
    assert isinstance(going, Value)
    return going
