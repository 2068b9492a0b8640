"""Which argument is which: by position, then by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.values import Given
from lamina.schema.diagnostics import Fault, Note, Span, did_you_mean


def known_names(
    context: Context, named: Mapping[str, Given], known: Sequence[str], owner: str, span: Span
) -> tuple[dict[str, Given], list[str]]:
    """The arguments that the callee has, and the names of those that it has not: these are reported."""
    wrong = [k for k in named if k not in known]
    for key in wrong:
        hint = did_you_mean(key, known) or (f"it takes {', '.join(known)}" if known else "it takes no arguments")
        context.report(Fault("unknown-argument", f"{owner} has no argument `{key}`", named[key].key, hint), span)
    return {k: v for k, v in named.items() if k in known}, wrong


def fill(arguments: Sequence[str], positional: Sequence[Given], named: Mapping[str, Given], owner: str) -> dict[str, Given]:
    """Positional values go to the arguments in declared order, named ones by name. Raises Fault."""
    slots = dict(zip(arguments, positional, strict=False))
    for key, given in slots.items():
        if key in named:
            raise _twice(owner, key, named[key], given)
    if len(positional) > len(arguments):
        raise _too_many(owner, arguments, positional)
    return slots | {k: v for k, v in named.items() if k in arguments}


def _twice(owner: str, key: str, by_name: Given, by_position: Given) -> Fault:
    message = f"{owner} is given `{key}` twice, by position and by name"
    return Fault("argument", message, by_name.key, "remove one of the two", [Note("here by position", by_position.span)])


def _too_many(owner: str, arguments: Sequence[str], positional: Sequence[Given]) -> Fault:
    counted = f"{len(arguments)} argument{'s' if len(arguments) != 1 else ''}"
    hint = f"its arguments are {', '.join(arguments)}" if arguments else ""
    return Fault("argument", f"{owner} takes {counted}, but {len(positional)} are given", positional[len(arguments)].span, hint)
