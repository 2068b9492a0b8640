"""What a checkpoint's tensors become and what its metadata must say, with the values that this config gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.numbers import finite_number, whole_number
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import Frame
from lamina.compiler.elaborate.words import shown
from lamina.compiler.weights.demands import Demands, Expected
from lamina.schema.diagnostics import Fault, Span
from lamina.schema.expressions import Expression, names_in
from lamina.schema.weights import Changes, Step, WeightRules

AnyChanges = TypeVar("AnyChanges", bound=Changes)


def weight_rules(context: Context, frame: Frame) -> WeightRules | None:
    """The `weights:` section, every size and factor a number. What is wrong with a rule is reported, and it is left out."""
    rules = context.spec.weights
    if rules is None:
        return None
    rename = _each(context, rules.rename, rules.spans, frame)
    return rules.model_copy(update={"rename": rename, "join": _each(context, rules.join, rules.join_spans, frame)})


def _each(context: Context, rules: Mapping[str, AnyChanges], spans: Mapping[str, Span], frame: Frame) -> dict[str, AnyChanges]:
    found: dict[str, AnyChanges] = {}
    for pattern, rule in rules.items():
        place = spans.get(pattern, context.spec.body.span)
        context.guard(lambda p=pattern, r=rule: found.update({p: _numbered(context, r, frame)}), place)  # type: ignore[misc]
    return found


def demands(context: Context, frame: Frame) -> Demands:
    """What the metadata must say; an entry that is null in this config is left out, and so is one that is wrong, which is reported."""
    rules = context.spec.weights
    if rules is None:
        return Demands()
    found: dict[str, Expected] = {}
    for key, given in rules.metadata.items():
        value = context.guard(lambda k=key, g=given: _comparable(context, k, g, frame), given.span)  # type: ignore[misc]
        if value is not None:
            entries = tuple(e.name for e in context.spec.config if e.name in names_in(given.tree))
            found[key] = Expected(value, given.source.text, given.span, entries)
    return Demands(rules.architecture, rules.place, found)


def _numbered(context: Context, rule: AnyChanges, frame: Frame) -> AnyChanges:
    steps = None if rule.steps is None else tuple(s.model_copy(update=_numbers(context, s, frame)) for s in rule.steps)
    return rule.model_copy(update={**_numbers(context, rule, frame), "steps": steps})


def _numbers(context: Context, given: Step | Changes, frame: Frame) -> dict[str, Any]:
    sizes, factor = given.reshape, given.scale
    whole = None if sizes is None else tuple(whole_number(context, s, frame, "a size of `reshape` must be", "weights", -1) for s in sizes)
    return {"reshape": whole, "scale": None if factor is None else finite_number(context, factor, frame, "`scale` must be", "weights")}


def _comparable(context: Context, key: str, given: Expression, frame: Frame) -> Any:
    value = formula(context, given, frame)
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, list) and all(isinstance(item, int | float | str) for item in value):
        return value
    raise Fault("weights", f"`{key}` must be a number, a text, true, false or a list of these, but it is {shown(value)}", given.span)
