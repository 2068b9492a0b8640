"""YAML files to trees: read as text, checked, parsed; work is bounded."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lamina.schema.composer import Composer
from lamina.schema.diagnostics import Collector, Diagnostic, Fault, Span
from lamina.schema.tree import Node
from lamina.schema.yaml_errors import explain

MAX_BYTES = 1024 * 1024
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


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
    root, diagnostics = _parsed(text, file)
    for diagnostic in diagnostics:
        collector.add(diagnostic)
    return root


@lru_cache(maxsize=32)  # the variants of a spec are one text, and specs share blocks: reading YAML takes most of the time of a small one
def _parsed(text: str, file: str) -> tuple[Node | None, tuple[Diagnostic, ...]]:
    collector = Collector()
    return _tree(text, file, collector), tuple(collector.diagnostics)


def _tree(text: str, file: str, collector: Collector) -> Node | None:
    tab = re.search(r"^ *\t", text, re.MULTILINE)
    if tab:
        line = text.count("\n", 0, tab.start()) + 1
        collector.error("yaml", "a tab is used for indentation", Span(file, line, tab.end() - tab.start()), "indent with spaces")
        return None
    odd = _UNPRINTABLE.search(text)
    if odd:
        start = text.rfind("\n", 0, odd.start()) + 1
        place = Span(file, text.count("\n", 0, odd.start()) + 1, odd.start() - start + 1)
        collector.error("encoding", f"the character U+{ord(odd.group()):04X} cannot stand in a spec", place, "remove it")
        return None
    composer = Composer(file, text.splitlines(), collector)
    try:
        return composer.document(YAML(typ="safe", pure=True).parse(text))
    except Fault as fault:
        collector.add(fault.at(Span(file, 1, 1)))
    except MarkedYAMLError as error:
        collector.add(explain(error, file, composer.lines).at(Span(file, 1, 1)))
    except (YAMLError, RecursionError, ValueError) as error:
        collector.error("yaml", f"this is not YAML: {str(error).splitlines()[0] if str(error) else 'nested too deep'}", Span(file, 1, 1))
    return None
