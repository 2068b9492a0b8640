"""What a YAML parser's error means for someone who writes a spec: the place that is wrong, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from ruamel.yaml.error import MarkedYAMLError, StreamMark

from lamina.schema.diagnostics import Fault, Span

_CLOSERS = {"[": "]", "{": "}"}
_ENDS_TEXT = "[]{},"


def explain(error: MarkedYAMLError, file: str, lines: Sequence[str]) -> Fault:
    """The error as a fault with a place and, where the cause is known, what to write instead."""
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem or error.context)
    opening = _character(error.context_mark, lines)
    if "quoted scalar" in str(error.context):
        return Fault(
            "yaml", f"this `{opening}` is never closed", _span(error.context_mark, file), f"write the `{opening}` that ends the text"
        )
    if opening in _CLOSERS and "expected ','" in problem:
        return _in_flow(opening, error, file, lines)
    if "mapping values are not allowed" in problem:
        return Fault(
            "yaml",
            "YAML takes this `:` for the end of a key, and no key can stand here",
            _span(mark, file),
            "quote text that contains a colon followed by a space",
        )
    return Fault("yaml", f"this is not YAML: {problem}", _span(mark, file))


def _in_flow(opening: str, error: MarkedYAMLError, file: str, lines: Sequence[str]) -> Fault:
    """Inside [] or {}: either text that needs quotes, or a bracket that is never closed."""
    mark, closer = error.problem_mark, _CLOSERS[opening]
    text = _text_before(mark, lines)
    stopped = _character(mark, lines)
    if stopped and stopped in _ENDS_TEXT and text and error.context_mark and mark and mark.line == error.context_mark.line:
        whole = text + _value_from(lines[mark.line][mark.column :])
        return Fault(
            "yaml",
            f"YAML ends the text `{text}` at this `{stopped}`, because it stands inside `{opening}{closer}`",
            _span(mark, file),
            f'quote the text: "{whole}"',
        )
    return Fault("yaml", f"this `{opening}` is never closed", _span(error.context_mark, file), f"write the `{closer}` that ends it")


def _text_before(mark: StreamMark | None, lines: Sequence[str]) -> str:
    """The unquoted text that ends at a mark."""
    if mark is None or mark.line >= len(lines):
        return ""
    before = lines[mark.line][: mark.column]
    start = max(before.rfind(c) for c in "[]{},:\"'") + 1
    return before[start:].strip()


def _value_from(rest: str) -> str:
    """The text up to the comma or bracket that ends the value which it was meant to belong to."""
    depth = 0
    for position, character in enumerate(rest):
        if depth == 0 and character in ",]}":
            return rest[:position].rstrip()
        depth += (character in "[({") - (character in "])}")
    return rest.rstrip()


def _character(mark: StreamMark | None, lines: Sequence[str]) -> str:
    return lines[mark.line][mark.column : mark.column + 1] if mark and mark.line < len(lines) else ""


def _span(mark: StreamMark | None, file: str) -> Span:
    return Span(file, mark.line + 1, mark.column + 1) if mark else Span(file, 1, 1)
