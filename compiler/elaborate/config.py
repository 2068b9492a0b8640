"""The config: defaults, then what the variant and the command line give."""

from __future__ import annotations

from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.convert import convert
from lamina.compiler.elaborate.defaults import default
from lamina.compiler.elaborate.dims import computed_dims
from lamina.compiler.elaborate.resolve import resolve
from lamina.compiler.elaborate.values import UNKNOWN, Frame, Given
from lamina.compiler.elaborate.wants import want_of_type
from lamina.schema.diagnostics import Fault, Note
from lamina.schema.spec import ConfigEntry, Override


def read_config(context: Context, frame: Frame) -> dict[str, Any]:
    """Every entry's value, in order: each sees those above it, and the dims that follow from them. What is wrong is reported, and
    unknown from then on."""
    spec, config = context.spec, {}
    overrides = {o.name: o for o in (*spec.variants.get(spec.variant or "", ()), *spec.overrides)}
    context.later = {entry.name for entry in spec.config}
    for entry in spec.config:
        computed_dims(context, frame)
        value = context.guard(lambda e=entry: _entry(context, e, overrides.get(e.name), frame), entry.span)  # type: ignore[misc]
        context.globals[entry.name] = UNKNOWN if value is None and not entry.type.optional else value
        config[entry.name] = value
        _other_variants(context, entry, frame)
        context.later.discard(entry.name)
    computed_dims(context, frame)
    return config


def _entry(context: Context, entry: ConfigEntry, override: Override | None, frame: Frame) -> Any:
    if override is None:
        return default(context, entry.type, frame, entry.name)
    given = Given(override.value.span, frame, override.value)
    try:
        return convert(resolve(context, given, want_of_type(entry.type)), entry.type, f"`{entry.name}`", given.span)
    except Fault as fault:
        fault.notes = (*fault.notes, Note(f"`{entry.name}` is declared here", entry.span))
        raise


def _other_variants(context: Context, entry: ConfigEntry, frame: Frame) -> None:
    """What a variant (or `small`) gives must have the entry's type, whether or not it is the chosen one."""
    sets = (*context.spec.variants.values(), context.spec.small)
    for given in (o for overrides in sets for o in overrides if o.name == entry.name):
        context.guard(lambda o=given: _entry(context, entry, o, frame), given.span)  # type: ignore[misc]
