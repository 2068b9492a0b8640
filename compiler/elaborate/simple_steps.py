"""Steps without steps of their own, and `if`."""

from __future__ import annotations

from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.evaluator import Evaluator
from lamina.compiler.elaborate.lookup import find_callee, first_input, need_callee
from lamina.compiler.elaborate.names import value_or_callee
from lamina.compiler.elaborate.resolve import written
from lamina.compiler.elaborate.scope import Label
from lamina.compiler.elaborate.values import Frame, Given, Request
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Value
from lamina.schema import spec as s
from lamina.schema.diagnostics import Fault


def call(context: Context, step: s.Call, frame: Frame) -> None:
    """`gelu`, `linear: 8`, `conv: {...}`: a call on `x`, which it sets. A lone name that calls nothing is the variable of that name."""
    name = step.callee.text
    callee = find_callee(name, frame)
    if callee is None and name in frame.values and step.first is None and not step.named:
        frame.values["x"] = frame.values[name]
        return
    callee = callee or need_callee(name, frame, step.callee.span)
    first, named = written(step, frame)
    takes = first_input(callee)
    if takes and takes not in named and "x" not in frame.values:
        raise _no_current_value(step, frame)
    x = (Given(step.span, frame, value=frame.values["x"]),) if takes and "x" in frame.values else ()
    label = Label(step.name) if step.name else Label(name, fixed=False)
    frame.values["x"] = context.call(callee, Request(step.span, x, first, named, label))


def _no_current_value(step: s.Call, frame: Frame) -> Fault:
    name = step.callee.text
    tensors = [n for n, v in frame.values.items() if isinstance(v, Value)]
    hint = f"name one of {', '.join(tensors)}, as in `{name}({tensors[0]}, ...)`" if tensors else ""
    return Fault("undefined-name", f"`{name}` needs an input, and there is no current value `x` here", step.callee.span, hint)


def statement(context: Context, step: s.Statement, frame: Frame) -> None:
    """`a, b = expression`, or an expression, which sets `x`."""
    targets = step.assignment.targets or ("x",)
    expression = step.assignment.value
    value = value_or_callee(Evaluator(context, expression, frame), expression.tree)
    if len(targets) == 1:
        frame.values[targets[0]] = value
    elif isinstance(value, list) and len(value) == len(targets):
        frame.values.update(zip(targets, value, strict=True))
    else:
        raise _miscounted(len(targets), value, step)


def _miscounted(count: int, value: Any, step: s.Statement) -> Fault:
    given = f"{len(value)} values" if isinstance(value, list) else f"one, {shown(value)}"
    hint = "divide it with `split`" if isinstance(value, Value) else ""
    return Fault("assignment", f"{count} names are assigned, but the right side gives {given}", step.span, hint)


def if_(context: Context, step: s.If, frame: Frame) -> None:
    """One of two flows, chosen at compile time."""
    chosen = step.then if Evaluator(context, step.condition, frame).truth(step.condition.tree) else step.otherwise
    if chosen is not None:
        context.run(chosen, frame)
