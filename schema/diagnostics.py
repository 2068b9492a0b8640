"""Diagnostics: what is wrong, where, and what to write instead. One place renders them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from lamina.schema.printable import masked, printable


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a file: 1-based line and column, and how many characters to underline."""

    file: str
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that helps to understand the first."""

    message: str
    span: Span


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error. `code` is stable (for scripts), `hint` says what to write instead."""

    code: str
    message: str
    span: Span
    hint: str = ""
    notes: tuple[Note, ...] = ()

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class SpecError(Exception):
    """The user's input is wrong. Carries every diagnostic found, and the sources to quote from."""

    def __init__(self, diagnostics: Iterable[Diagnostic], sources: Mapping[str, str] | None = None) -> None:
        self.diagnostics = tuple(diagnostics)
        self.sources = dict(sources or {})
        super().__init__(render(self.diagnostics, self.sources))


class Fault(Exception):
    """One diagnostic on its way to a collector. `span` may be filled in by whoever knows the place."""

    def __init__(self, code: str, message: str, span: Span | None = None, hint: str = "", notes: Sequence[Note] = ()) -> None:
        super().__init__(message)
        self.code, self.message, self.span, self.hint, self.notes = code, message, span, hint, tuple(notes)

    def at(self, span: Span) -> Diagnostic:
        return Diagnostic(self.code, self.message, self.span or span, self.hint, self.notes)


@dataclass(slots=True)
class Collector:
    """Gathers diagnostics so that one run reports them all; the same one is kept once."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    limit: int = 100

    def add(self, diagnostic: Diagnostic) -> None:
        said = any((d.span, d.code, d.message) == (diagnostic.span, diagnostic.code, diagnostic.message) for d in self.diagnostics)
        if not said and len(self.diagnostics) < self.limit:
            self.diagnostics.append(diagnostic)

    def error(self, code: str, message: str, span: Span, hint: str = "", notes: Sequence[Note] = ()) -> None:
        self.add(Diagnostic(code, message, span, hint, tuple(notes)))

    def raise_if_any(self) -> None:
        if self.diagnostics:
            ordered = sorted(self.diagnostics, key=lambda d: (d.span.file, d.span.line, d.span.column))
            raise SpecError(ordered, self.sources)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def render(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> str:
    """All diagnostics as text: position, message, the source line with a caret, the hint."""
    return "\n".join(_render_one(d, sources) for d in diagnostics)


def _render_one(diagnostic: Diagnostic, sources: Mapping[str, str]) -> str:
    lines = [printable(f"{diagnostic.span}: error[{diagnostic.code}]: {diagnostic.message}"), *_excerpt(diagnostic.span, sources)]
    for note in diagnostic.notes:
        lines += [printable(f"{note.span}: note: {note.message}"), *_excerpt(note.span, sources)]
    if diagnostic.hint:
        lines.append(printable(f"  = help: {diagnostic.hint}"))
    return "\n".join(lines)


def _excerpt(span: Span, sources: Mapping[str, str]) -> list[str]:
    lines = sources.get(span.file, "").splitlines()
    if not 1 <= span.line <= len(lines):
        return []
    # A very long line is shown around the caret only, so that one error cannot flood the terminal.
    start = max(0, span.column - 80) if len(lines[span.line - 1]) > 160 else 0
    text = lines[span.line - 1][start : start + 160]
    text = masked(text.replace("\t", " "))
    number = str(span.line)
    carets = "^" * max(1, min(span.length, len(text) - (span.column - 1 - start)))
    return [f"  {number} | {text}", f"  {' ' * len(number)} | {' ' * (span.column - 1 - start)}{carets}"]
