"""The arguments of an op, checked by its own fields; every one that is wrong is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, get_args

from pydantic import ValidationError

from lamina.compiler.elaborate.inputs import Ahead
from lamina.compiler.elaborate.resolve import resolve
from lamina.compiler.elaborate.values import UNKNOWN, Given, Poisoned
from lamina.compiler.elaborate.wants import want_of_field
from lamina.compiler.elaborate.words import expected, shown
from lamina.compiler.graph import Value
from lamina.compiler.op import Op
from lamina.schema.diagnostics import Fault, Span, did_you_mean


def bound_op(op: type[Op], slots: Mapping[str, Given], weights: Mapping[str, Any], misspelt: Sequence[str], span: Span, ahead: Ahead) -> Op:
    """The op with its arguments, and those that its weights imply where they are given as values. Raises Poisoned when one is wrong."""
    values = {key: _value(op, key, given, ahead) for key, given in slots.items()}
    kept = {key: value for key, value in values.items() if not _skipped(op, key, slots[key], value)}
    try:
        if any(v is UNKNOWN for v in values.values()):
            raise Poisoned
        return op(**{**_implied(op, weights, kept), **kept})
    except ValidationError as error:
        for key, problems in groupby(error.errors(), lambda p: str(p["loc"][0]) if p["loc"] else ""):
            if next(problems)["type"] != "missing" or not did_you_mean(key, misspelt):
                ahead.context.report(_invalid(op, key, slots, values), span)
        raise Poisoned from error


def _skipped(op: type[Op], key: str, given: Given, value: Any) -> bool:
    """Whether it is a null by position, which leaves the argument out, and not one that the argument may be."""
    return value is None and given.by_position and type(None) not in get_args(op.model_fields[key].annotation)


def _implied(op: type[Op], weights: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    types = {k: v.type for k, v in weights.items() if isinstance(v, Value) and v.type is not None}
    return op.implied(types, values) if types else {}


def _value(op: type[Op], key: str, given: Given, ahead: Ahead) -> Any:
    """An argument's value, or UNKNOWN when it is wrong (which is reported) or comes from something wrong."""
    if id(given) in ahead.seen:
        return ahead.seen[id(given)]
    try:
        return resolve(ahead.context, given, want_of_field(op, key))
    except Fault as fault:
        ahead.context.report(fault, given.span)
    except Poisoned:
        pass
    return UNKNOWN


def _invalid(op: type[Op], key: str, slots: Mapping[str, Given], values: Mapping[str, Any]) -> Fault:
    due = expected(op, key)
    if key not in slots and key not in values:
        return Fault("missing-argument", f"`{op.name}` needs the argument `{key}`, {due}", None, f"write `{op.name}: {{{key}: ...}}`")
    value = values[key]
    message = f"`{key}` of `{op.name}` is {shown(value)}, but it must be {due}"
    return Fault("type", message, slots[key].span if key in slots else None, _hint(op, key, value, due))


def _hint(op: type[Op], key: str, value: Any, due: str) -> str:
    if isinstance(value, str):
        return did_you_mean(value, want_of_field(op, key).choices)
    whole = isinstance(value, float) and value.is_integer() and "whole" in due
    return "write `//` to divide without a fraction" if whole else ""
