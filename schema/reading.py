"""The state of one reading, and what reading any section needs: a part that is wrong is reported, and the others are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, final

from lamina.schema.diagnostics import Collector, Fault
from lamina.schema.spec import File
from lamina.schema.steps import StepReader
from lamina.schema.tree import Mapping, Node, Scalar

T = TypeVar("T")


@final
@dataclass(slots=True)
class Reading:
    """What has been read and what is wrong."""

    collector: Collector
    files: dict[Path, File] = field(default_factory=dict)
    open_files: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)  # names whose declarations are wrong
    usable: bool = True  # false once something is wrong that makes the rest look wrong too

    @property
    def steps(self) -> StepReader:
        return StepReader(self.collector)

    def attempt(self, read: Callable[[Node], T | None], node: Node | None) -> T | None:
        """What `read` makes of a node, or None when there is none or it is wrong."""
        if node is None:
            return None
        try:
            return read(node)
        except Fault as fault:
            self.collector.add(fault.at(node.span))
            return None

    def each(self, node: Node | None, section: str, read: Callable[[Scalar, Node], T | None]) -> dict[str, T]:
        """What `read` makes of each entry of a section."""
        if node is None or (isinstance(node, Scalar) and node.plain and node.value is None):
            return {}
        if not isinstance(node, Mapping):
            self.collector.error("type", f"`{section}` must be a mapping", node.span)
            return {}
        found = {key.text: self.attempt(partial(read, key), value) for key, value in node}
        self.unreadable |= {name for name, value in found.items() if value is None}
        return {name: value for name, value in found.items() if value is not None}

    def text(self, mapping: Mapping, key: str) -> str:
        """A text, empty when it is not there."""
        node = mapping.get(key)
        if node is None:
            return ""
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.text
        quoted = f'write "{node.text}" in quotes' if isinstance(node, Scalar) and node.text else ""
        self.collector.error("type", f"`{key}` must be a text", node.span, quoted)
        return ""
