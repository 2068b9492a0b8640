"""`repeat` and `for`, unrolled."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from lamina.compiler.elaborate.budget import MAX_STEPS
from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.scope import Scope
from lamina.compiler.elaborate.values import Frame
from lamina.compiler.elaborate.words import shown
from lamina.schema import spec as s
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import Dim


def repeat(context: Context, step: s.Repeat, frame: Frame) -> None:
    """The body, a fixed number of times."""
    count = formula(context, step.count, frame)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        hint = "only what is known at compile time can be repeated: use a config value" if isinstance(count, Dim) else ""
        raise Fault("type", f"`repeat` needs a fixed whole number of at least 0, but it is {shown(count)}", step.count.span, hint)
    if count > MAX_STEPS:
        raise Fault("limit", f"`repeat: {count}` is more than {MAX_STEPS:,} passes", step.count.span, "lower the count")
    scope = context.scope
    _unrolled(context, step, ({} for _ in range(count)), frame, scope.child(step.name or scope.unique("repeat")))


def for_(context: Context, step: s.For, frame: Frame) -> None:
    """The body, once for each element of a list."""
    items = formula(context, step.items, frame)
    if not isinstance(items, list):
        text = ast.unparse(step.items.tree)
        hint = f"write `range({text})`" if isinstance(items, int) else ""
        raise Fault("type", f"`for` needs a list, but `{text}` is {shown(items)}", step.items.place(step.items.tree), hint)
    scope = context.scope
    _unrolled(context, step, [_named(step, item) for item in items], frame, scope.child(step.name or scope.unique("for")))


def _named(step: s.For, item: Any) -> dict[str, Any]:
    if len(step.targets) == 1:
        return {step.targets[0]: item}
    if not isinstance(item, list) or len(item) != len(step.targets):
        raise Fault("assignment", f"`for` names {len(step.targets)} values, but an element is {shown(item)}", step.span)
    return dict(zip(step.targets, item, strict=True))


def _unrolled(context: Context, step: s.Repeat | s.For, passes: Iterable[dict[str, Any]], frame: Frame, base: Scope) -> None:
    for index, values in enumerate(passes):
        context.passes.append((index, step.span))
        try:
            with context.within(base.child(str(index))):
                frame.values.update(values)
                context.run(step.body, frame)
        finally:
            context.passes.pop()
