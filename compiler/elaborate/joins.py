"""`residual` and `branches`: flows from one value, and how they join."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.lookup import need_op
from lamina.compiler.elaborate.values import UNKNOWN, Frame, Given, Poisoned, Request
from lamina.schema import spec as s
from lamina.schema.diagnostics import Fault, Span


def residual(context: Context, step: s.Residual, frame: Frame) -> None:
    """`x + body(x)`, or `skip(x) + body(x)`."""
    with _named(context, step.name):
        start = side = frame.values.get("x", UNKNOWN)
        if step.skip is not None:
            context.run(step.skip, frame)
            side, frame.values["x"] = frame.values["x"], start
        context.run(step.body, frame)
        frame.values["x"] = _sum(context, side, frame, step.span)


def _sum(context: Context, side: Any, frame: Frame, span: Span) -> Any:
    result = frame.values["x"]
    try:
        return _folded(context, "add", [side, result], frame, span)
    except Fault as fault:
        if fault.code == "shape":
            fault.message = f"the two sides of `residual` do not fit together: {side.type} beside steps that give {result.type}"
            fault.hint = "make the steps keep the shape, or fit the other side with `skip: [...]`"
        raise


def branches(context: Context, step: s.Branches, frame: Frame) -> None:
    """Each flow from the same value; then one value, or the list of all."""
    start, found = frame.values.get("x", UNKNOWN), []
    for index, flow in enumerate(step.flows):
        frame.values["x"] = start
        with _named(context, f"{step.name}.{index}" if step.name else None):
            context.run(flow, frame)
        found.append(frame.values["x"])
    frame.values["x"] = found if step.merge == "list" else _merged(context, step, found, frame)


def _named(context: Context, name: str | None) -> AbstractContextManager[None]:
    """A scope of its own where the step is named."""
    return context.within(context.scope.child(name)) if name else nullcontext()


def _merged(context: Context, step: s.Branches, found: Sequence[Any], frame: Frame) -> Any:
    if step.merge != "concat":
        return _folded(context, step.merge, found, frame, step.span)
    if UNKNOWN in found:
        raise Poisoned
    whole, dim = (Given(step.span, frame, value=v) for v in (list(found), step.dim))
    return context.call(need_op("concat"), Request(step.span, (whole,), named={"dim": dim}))


def _folded(context: Context, op: str, values: Sequence[Any], frame: Frame, span: Span) -> Any:
    """The values joined two by two."""
    total = values[0]
    for value in values[1:]:
        if total is UNKNOWN or value is UNKNOWN:
            raise Poisoned
        total = context.call(need_op(op), Request(span, tuple(Given(span, frame, value=v) for v in (total, value))))
    return total
