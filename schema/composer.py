"""YAML events to a tree. Strict: what the language does not use is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from lamina.schema.diagnostics import Collector, Fault, Note, Span
from lamina.schema.printable import unprintable
from lamina.schema.tree import Mapping, Node, Scalar, Sequence
from lamina.schema.yaml_scalars import resolve

MAX_DEPTH = 60
MAX_NODES = 20_000  # the largest spec of the zoo has about a twentieth


@final
@dataclass(slots=True)
class Composer:
    """Builds the tree of one file."""

    file: str
    lines: list[str]
    collector: Collector
    depth: int = field(default=0)
    nodes: int = field(default=0)

    def document(self, events: Iterator[Event]) -> Node | None:
        """The tree of a file's only document, or None for an empty file. Raises Fault."""
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                self._refuse_directives(event.start_mark.line)
                if documents > 1:
                    raise Fault(
                        "yaml", "the file holds more than one YAML document", self._span(event), "remove the `---` and what follows"
                    )
            elif isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent | AliasEvent):
                root = self._node(event, events)
        return root

    def _node(self, event: Event, events: Iterator[Event]) -> Node:
        self._refuse(event)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise Fault(
                "limit", f"the file holds more than {MAX_NODES:,} values", self._span(event), "write what repeats as a loop or a block"
            )
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Fault("limit", f"nested more than {MAX_DEPTH} levels deep", self._span(event), "move inner parts into blocks")
        read = self._sequence if isinstance(event, SequenceStartEvent) else self._mapping
        node: Node = read(event, events)
        self.depth -= 1
        return node

    def _refuse_directives(self, document: int) -> None:
        for number, line in enumerate(self.lines[:document], 1):
            if line.startswith("%"):
                word = line.split()[0]
                raise Fault(
                    "yaml",
                    f"YAML directives such as `{word}` are not part of the language",
                    Span(self.file, number, 1, len(word)),
                    "remove this line",
                )

    def _refuse(self, event: Event) -> None:
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            word = f"{'*' if isinstance(event, AliasEvent) else '&'}{anchor}"
            hint = "write the value out in each place, name it under `config`, or make the steps a block"
            raise Fault("yaml", f"YAML anchors and aliases such as `{word}` are not part of the language", self._span(event), hint)
        if tag is not None and str(tag) not in ("", "!"):
            word = self.lines[event.start_mark.line][event.start_mark.column :].split()[0]
            raise Fault("yaml", f"YAML tags such as `{word}` are not part of the language", self._span(event), "remove the tag")

    def _scalar(self, event: ScalarEvent) -> Scalar:
        is_plain = event.style in (None, "")
        start, end = event.start_mark, event.end_mark
        exact = start.line == end.line and end.column - start.column == len(event.value) + (0 if is_plain else 2)
        length = end.column - start.column if start.line == end.line else 1
        span = Span(self.file, start.line + 1, start.column + 1, max(length, 1))
        if odd := unprintable(event.value):
            raise Fault("encoding", f"the text holds the character U+{ord(odd):04X}, which cannot stand in a spec", span, "remove it")
        return Scalar(event.value, resolve(event.value, span) if is_plain else event.value, span, is_plain, exact)

    def _sequence(self, start: Event, events: Iterator[Event]) -> Sequence:
        items: list[Node] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._node(event, events))
        return Sequence(tuple(items), self._span(start), bool(getattr(start, "flow_style", False)))

    def _mapping(self, start: Event, events: Iterator[Event]) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._node(event, events)
            value = self._value(key, next(events), events)
            if not isinstance(key, Scalar):
                self.collector.error("yaml", "a key must be a word, not a list or mapping", key.span, "quote text that contains [ ] { } ,")
            elif key.text in entries:
                notes = [Note(f"`{key.text}` is first given here", entries[key.text][0].span)]
                self.collector.error(
                    "duplicate-key", f"the key `{key.text}` is given twice", key.span, "remove or rename one of them", notes
                )
            else:
                entries[key.text] = (key, value)
        return Mapping(tuple(entries.values()), self._span(start), bool(getattr(start, "flow_style", False)))

    def _value(self, key: Node, event: Event, events: Iterator[Event]) -> Node:
        node = self._node(event, events)
        absent = isinstance(node, Scalar) and node.plain and not node.text
        return Scalar("", None, key.span, exact=False) if absent else node  # nothing is written, so the key is the place

    def _span(self, event: Event) -> Span:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if start.line == end.line else 1
        return Span(self.file, start.line + 1, start.column + 1, max(length, 1))
