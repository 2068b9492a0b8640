"""Characters that a terminal or an editor takes for commands: those that move, colour or turn text, and halves of characters."""

from __future__ import annotations

import re

_COMMANDS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff"
_UNPRINTABLE = re.compile(f"[{_COMMANDS}]")


def unprintable(text: str) -> str | None:
    """The first such character of a text, if it holds one."""
    found = _UNPRINTABLE.search(text)
    return None if found is None else found.group()


def printable(text: str) -> str:
    """The text with each such character written as its code."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def masked(text: str) -> str:
    """The text with each such character replaced by one that shows, so that columns stay."""
    return _UNPRINTABLE.sub("\ufffd", text)
