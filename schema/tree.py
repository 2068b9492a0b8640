"""YAML text to a tree of nodes that know their place. Strict: what the language does not use is refused, and work is bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
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
from lamina.schema.yaml_errors import explain

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 60
Plain = int | float | str | bool | None

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INT = re.compile(r"[-+]?[0-9]+$|0x[0-9a-fA-F]+$|0o[0-7]+$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_WORDS: dict[str, Plain] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_SPECIAL = {".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}


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


def read_text(path: Path, name: str) -> str:
    """The file's text. Raises Fault for a file that is missing, too large or not UTF-8."""
    start = Span(name, 1, 1)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Fault("file", f"cannot read `{name}`: {error.strerror}", start) from error
    if len(data) > MAX_BYTES:
        raise Fault(
            "limit",
            f"`{name}` is larger than {MAX_BYTES // 1024**2} MiB, the most a spec may be",
            start,
            "weights belong in a checkpoint, not in the spec",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise Fault(
            "encoding",
            f"the file is not UTF-8: byte 0x{data[error.start]:02x} cannot be read",
            Span(name, line, column),
            "save the file as UTF-8",
        ) from error


def parse(text: str, file: str, collector: Collector) -> Node | None:
    """The tree of a one-document YAML text; None (and a diagnostic) when there is none."""
    collector.sources[file] = text
    tab = re.search(r"^ *\t", text, re.MULTILINE)
    if tab:
        line = text.count("\n", 0, tab.start()) + 1
        collector.error("yaml", "a tab is used for indentation", Span(file, line, tab.end() - tab.start()), "indent with spaces")
        return None
    odd = _UNPRINTABLE.search(text)
    if odd:
        start = text.rfind("\n", 0, odd.start()) + 1
        place = Span(file, text.count("\n", 0, odd.start()) + 1, odd.start() - start + 1)
        collector.error("encoding", f"the character U+{ord(odd.group()):04X} cannot stand in a YAML file", place, "remove it")
        return None
    composer = _Composer(file, text.splitlines(), collector)
    try:
        return composer.document(YAML(typ="safe", pure=True).parse(text))
    except Fault as fault:
        collector.add(fault.at(Span(file, 1, 1)))
    except MarkedYAMLError as error:
        collector.add(explain(error, file, composer.lines).at(Span(file, 1, 1)))
    except (YAMLError, RecursionError, ValueError) as error:
        collector.error("yaml", f"this is not YAML: {str(error).splitlines()[0] if str(error) else 'nested too deep'}", Span(file, 1, 1))
    return None


@dataclass(slots=True)
class _Composer:
    file: str
    lines: list[str]
    collector: Collector
    depth: int = field(default=0)

    def document(self, events: Iterator[Event]) -> Node | None:
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
        return Scalar(event.value, _resolve(event.value, span) if is_plain else event.value, span, is_plain, exact)

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


def _resolve(text: str, span: Span) -> Plain:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        if len(text) > 40:
            raise Fault("limit", f"the number {text[:12]}... has {len(text)} digits", span, "integers go up to 2^63")
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.match(text):
        return float(text)
    return _SPECIAL.get(text, text)
