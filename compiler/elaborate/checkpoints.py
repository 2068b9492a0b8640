"""What a checkpoint's tensors become and what its metadata must say, with the values that this config gives."""

from __future__ import annotations

from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.numbers import whole_number
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import Frame
from lamina.compiler.elaborate.words import shown
from lamina.compiler.weights.demands import Demands, Expected
from lamina.schema.diagnostics import Fault
from lamina.schema.expressions import Expression, names_in
from lamina.schema.weights import Rule, Step, WeightRules


def weight_rules(context: Context, frame: Frame) -> WeightRules | None:
    """The `weights:` section, every size a number. What is wrong with a rule is reported, and it is left out."""
    rules = context.spec.weights
    if rules is None:
        return None
    found: dict[str, Rule] = {}
    for pattern, rule in rules.rename.items():
        place = rules.spans.get(pattern, context.spec.body.span)
        context.guard(lambda p=pattern, r=rule: found.update({p: _sized(context, r, frame)}), place)  # type: ignore[misc]
    return rules.model_copy(update={"rename": found})


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


def _sized(context: Context, rule: Rule, frame: Frame) -> Rule:
    steps = None if rule.steps is None else tuple(_sized_step(context, step, frame) for step in rule.steps)
    return rule.model_copy(update={"reshape": _sizes(context, rule.reshape, frame), "steps": steps})


def _sized_step(context: Context, step: Step, frame: Frame) -> Step:
    return step.model_copy(update={"reshape": _sizes(context, step.reshape, frame)})


def _sizes(context: Context, given: tuple[int | Expression, ...] | None, frame: Frame) -> tuple[int, ...] | None:
    return (
        None if given is None else tuple(whole_number(context, size, frame, "a size of `reshape` must be", "weights", -1) for size in given)
    )


def _comparable(context: Context, key: str, given: Expression, frame: Frame) -> Any:
    value = formula(context, given, frame)
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, list) and all(isinstance(item, int | float | str) for item in value):
        return value
    raise Fault("weights", f"`{key}` must be a number, a text, true, false or a list of these, but it is {shown(value)}", given.span)
