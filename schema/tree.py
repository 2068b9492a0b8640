"""The tree of a YAML file: nodes that know their place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lamina.schema.diagnostics import Span

Plain = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class Scalar:
    """A leaf. `text` is what was written, `value` what YAML 1.2 makes of it."""

    text: str
    value: Plain
    span: Span
    plain: bool = True
    exact: bool = True  # characters of `text` stand one by one in the source line, so offsets give columns

    def at(self, offset: int, length: int) -> Span:
        """The place of a part of the text."""
        if not self.exact:
            return self.span
        return Span(self.span.file, self.span.line, self.span.column + offset + (not self.plain), max(length, 1))


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    span: Span
    flow: bool = False


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys in file order, each once."""

    entries: tuple[tuple[Scalar, Node], ...]
    span: Span
    flow: bool = False

    def __iter__(self) -> Iterator[tuple[Scalar, Node]]:
        return iter(self.entries)

    def get(self, key: str) -> Node | None:
        """The value of a key, or None."""
        return next((v for k, v in self.entries if k.text == key), None)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(k.text for k, _ in self.entries)


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> object:
    """The node as plain Python data."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {k.text: plain(v) for k, v in node}
