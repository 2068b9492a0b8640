"""Statements that YAML cut apart: at commas in [], at `: `, or at a ` #` that was no comment."""

from __future__ import annotations

from lamina.schema.diagnostics import Fault
from lamina.schema.tree import Node, Scalar, Sequence


def whole(node: Sequence) -> tuple[tuple[Node, ...], Fault | None]:
    """The items of a list. Where commas in [] have cut a statement into several items, it is put together again, and a fault says so."""
    cut = _cut(node) if node.flow else None
    if cut is None:
        return node.items, None
    parts = [item.text for item in node.items[cut] if isinstance(item, Scalar)]
    text, place = ", ".join(parts), node.items[cut.start].span
    message = f"YAML broke a statement apart at its commas: it reads {' and '.join(f'`{p}`' for p in parts)} as {len(parts)} steps"
    mended = (*node.items[: cut.start], Scalar(text, text, place, exact=False), *node.items[cut.stop :])
    return mended, Fault("yaml", message, place, f'quote the statement: "{text}"')


def at_comment(node: Scalar, source: str) -> Fault | None:
    """Brackets that do not close, before a comment: the `#` was meant to belong to the statement."""
    lines = source.splitlines() if node.plain and _depth(node.text) > 0 and node.exact else []
    rest = lines[node.span.line - 1][node.span.column - 1 + len(node.text) :] if node.span.line <= len(lines) else ""
    if not rest.lstrip().startswith("#"):
        return None
    message = f"YAML starts a comment at ` #`, so the statement is only `{node.text}`"
    return Fault("yaml", message, node.span, f'quote the statement: "{node.text}{rest}"')


def at_colon(callee: Scalar, value: Node) -> Fault:
    """A statement with `: ` in it is a mapping to YAML."""
    rest = value.text if isinstance(value, Scalar) else "..."
    message = f"YAML broke a statement apart at its `: `: it reads `{callee.text}` as the name of something to call"
    return Fault("yaml", message, callee.span, f'quote the statement: "{callee.text}: {rest}"')


def _cut(node: Sequence) -> slice | None:
    """The items that are parts of one statement: from a bracket that stays open to where it closes, and names before an `=`."""
    texts = [item.text if isinstance(item, Scalar) and item.plain else "" for item in node.items]
    first = next((i for i, text in enumerate(texts) if _depth(text) > 0), len(texts))
    last = next((i for i in range(first + 1, len(texts)) if _depth(", ".join(texts[first : i + 1])) == 0), None)
    if last is None:
        return None
    while first and "=" in texts[first] + texts[first - 1] and texts[first - 1].isidentifier():
        first -= 1
    return slice(first, last + 1)


def _depth(text: str) -> int:
    """How many brackets of a text stay open."""
    return sum(text.count(c) for c in "([{") - sum(text.count(c) for c in ")]}")
