"""Compile-time values are bounded in size."""

from __future__ import annotations

from typing import Any

from lamina.schema.diagnostics import Fault

MAX_LIST = 100_000
MAX_TEXT = 10_000
MAX_INT = 2**63


def bounded(value: Any) -> Any:
    """The value, unless it is an integer beyond 64 bits or a very long list. Raises Fault."""
    if isinstance(value, int) and not -MAX_INT <= value < MAX_INT:
        raise Fault("limit", "the result is an integer beyond 64 bits", hint="integers go up to 2^63")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise Fault("limit", f"the text has {len(value):,} characters, more than {MAX_TEXT:,}")
    if isinstance(value, list) and len(value) > MAX_LIST:
        raise Fault("limit", f"the list has {len(value):,} elements, more than {MAX_LIST:,}")
    return value


def weight(value: list[Any]) -> int:
    """How many elements a list holds, those of the lists in it counted where they stand. Raises Fault when they are too many."""
    total, pending = 0, [value]
    while pending:
        current = pending.pop()
        total += len(current)
        if total > MAX_LIST:
            raise Fault("limit", f"the lists in this list have more than {MAX_LIST:,} elements together")
        pending.extend(v for v in current if isinstance(v, list))
    return total
