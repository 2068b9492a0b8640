"""The inputs of a call: taken from the positional values, which may hold arguments too, and from those by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.resolve import tolerant
from lamina.compiler.elaborate.values import UNKNOWN, Given
from lamina.compiler.graph import Value
from lamina.schema.diagnostics import Fault


@final
@dataclass(frozen=True, slots=True)
class Ahead:
    """Arguments that are looked at before they are bound: each is evaluated one time only, since evaluating adds nodes."""

    context: Context
    seen: dict[int, Any] = field(default_factory=dict)

    def value(self, given: Given) -> Any:
        """The value, or UNKNOWN."""
        if id(given) not in self.seen:
            self.seen[id(given)] = tolerant(self.context, given)
        return self.seen[id(given)]

    def is_tensor(self, given: Given) -> bool:
        value = self.value(given)
        return isinstance(value, Value) or value is UNKNOWN

    def is_optional_tensor(self, given: Given) -> bool:
        """Whether it is a tensor, or the null that stands where none is given."""
        return self.value(given) is None or self.is_tensor(given)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs that a callee declares, and how it says that one is missing."""

    names: Sequence[str]
    required: int
    missing: Callable[[str], Fault]
    fits: Callable[[Given], bool]  # whether a positional value is for an optional input, and not for an argument

    def take(self, positional: Sequence[Given], named: Mapping[str, Given]) -> tuple[dict[str, Given | None], list[Given]]:
        """Each input's value, None for an optional one that is not given; and the positional values that are left. Raises Fault."""
        found: dict[str, Given | None] = {}
        pending = list(positional)
        for index, name in enumerate(self.names):
            required = index < self.required
            if name in named:
                found[name] = named[name]
            elif pending and (required or self.fits(pending[0])):
                found[name] = pending.pop(0)
            elif required:
                raise self.missing(name)
            else:
                found[name] = None
        return found, pending
