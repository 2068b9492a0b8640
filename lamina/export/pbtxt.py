"""Protocol buffers' text format, of plain values: a mapping is a message, a list a repeated field, a `Word` a name of an enumeration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Word(str):
    """A name of an enumeration, which is written without quotes."""

    __slots__ = ()


def pbtxt(message: Mapping[str, Any]) -> str:
    """The text, a field a line; fields that are None are left out."""
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in message.items():
        if _is_numbers(value):
            yield f"{indent}{name}: [{', '.join(map(str, value))}]"
            continue
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, Mapping):
                yield f"{indent}{name} {{"
                yield from _lines(part, f"{indent}  ")
                yield f"{indent}}}"
            elif part is not None:
                yield f"{indent}{name}: {_scalar(part)}"


def _is_numbers(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(type(part) is int for part in value)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, str) and not isinstance(value, Word) else str(value)
