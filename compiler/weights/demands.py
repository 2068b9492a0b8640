"""What a spec demands of a checkpoint's metadata, in the values of one config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamina.schema.diagnostics import Span


@dataclass(frozen=True, slots=True)
class Expected:
    """The value of an expression over the config, its text and place, and the config entry that it is, or those that it uses."""

    value: Any
    text: str
    span: Span
    entries: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        used = ", ".join(f"`{name}`" for name in self.entries)
        return f"choose the variant of this checkpoint, or --set {used}" if used else "this checkpoint is of another model"


@dataclass(frozen=True, slots=True)
class Demands:
    """The architectures that a spec takes (none: any), where it says so, and what metadata must say, by key."""

    architectures: tuple[str, ...] = ()
    span: Span | None = None
    metadata: Mapping[str, Expected] | None = None
