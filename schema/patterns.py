"""Keys of checkpoints with wildcards, and the paths that are made of what those stand for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_LENGTH = 500  # characters of a pattern, and of a key that a pattern can match
MAX_WILDCARDS = 8
_TOKEN = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*(?:[+-][0-9]{1,4})?)\}|(\*)|([{}])|([^{}*]+)")
_SHIFT = re.compile(r"(\w+)([+-]\d+)")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A key with wildcards: `{i}` is one or more characters other than a dot, the same wherever it stands again; `*` is anything.

    A `*` takes the shortest text after which what stands between it and the next `*` (or the end) fits. That choice is final, and
    only one `{i}` may stand between two dots, so that matching is fast whatever pattern and key say.
    """

    text: str
    regex: re.Pattern[str]

    @staticmethod
    def parse(text: str) -> Pattern:
        """Read a pattern. Raises ValueError when it is not one."""
        tokens = list(_tokens(text))
        if shifted := next((word for kind, word in tokens if kind == "name" and _SHIFT.fullmatch(word)), None):
            raise ValueError(f"`{{{shifted}}}` shifts a number, which only the path of a rule can do")
        wild = [kind != "text" for kind, _ in tokens]
        if any(a and b for a, b in itertools.pairwise(wild)):
            raise ValueError(f"`{text}` has two wildcards side by side, so where one ends is anybody's guess")
        if _crowded(tokens):
            raise ValueError(f"`{text}` has two names between dots; one `{{i}}` may stand there")
        if sum(wild) > MAX_WILDCARDS:
            raise ValueError(f"`{text[:40]}` has more than {MAX_WILDCARDS} wildcards")
        return Pattern(text, re.compile(_regex(tokens), re.DOTALL))

    def captures(self, key: str) -> dict[str, str] | None:
        """What the wildcards stand for in this key (the k-th `*` as `*k`), or None when the pattern does not match."""
        found = self.regex.match(key) if len(key) <= MAX_LENGTH else None
        return None if found is None else {_wildcard(group): text for group, text in found.groupdict().items()}

    @property
    def wildcards(self) -> frozenset[str]:
        return frozenset(map(_wildcard, self.regex.groupindex))


def wildcards(path: str) -> list[str]:
    """The wildcards of a path, in order, as `Pattern.captures` names them. Raises ValueError when it is not well formed."""
    return [_SHIFT.sub(r"\1", word) for kind, word in _numbered(_tokens(path)) if kind != "text"]


def fill(path: str, captures: dict[str, str]) -> str:
    """The path with its wildcards replaced; `{i-1}` is one less than the number that `{i}` is."""
    return "".join(word if kind == "text" else _filled(word, captures) for kind, word in _numbered(_tokens(path)))


def _filled(wildcard: str, captures: dict[str, str]) -> str:
    """A capture, or its shifted number; what is no number stays as it is written, and so names no weight."""
    if wildcard in captures:
        return captures[wildcard]
    name, shift = _SHIFT.fullmatch(wildcard).groups()  # type: ignore[union-attr]  # `wildcards` has checked it
    return str(int(captures[name]) + int(shift)) if captures[name].isdecimal() else f"{{{wildcard}}}"


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    if not text or len(text) > MAX_LENGTH:
        raise ValueError(f"a key has 1 to {MAX_LENGTH} characters, not {len(text)}")
    for name, star, brace, literal in _TOKEN.findall(text):
        if brace:
            raise ValueError(f"`{text}` has a brace that is not part of a wildcard such as {{i}}")
        yield ("name", name) if name else ("star", star) if star else ("text", literal)


def _numbered(tokens: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    stars = 0
    for kind, word in tokens:
        stars += kind == "star"
        yield kind, f"*{stars}" if kind == "star" else word


def _regex(tokens: list[tuple[str, str]]) -> str:
    """Each `*` opens an atomic group that reaches to the next one: what it has matched once is not tried again."""
    out, seen = "", set()
    for kind, word in _numbered(iter(tokens)):
        if kind == "text":
            out += re.escape(word)
        elif kind == "star":
            out += f")(?>(?P<{_group(word)}>.*?)"
        else:
            out += f"(?P={_group(word)})" if word in seen else f"(?P<{_group(word)}>[^.]+?)"
            seen.add(word)
    return rf"(?>{out}\Z)"


def _crowded(tokens: list[tuple[str, str]]) -> bool:
    names = 0
    for kind, word in tokens:
        names = 0 if kind == "star" or (kind == "text" and "." in word) else names + (kind == "name")
        if names > 1:
            return True
    return False


def _group(wildcard: str) -> str:
    return f"star{wildcard[1:]}" if wildcard.startswith("*") else f"name_{wildcard}"


def _wildcard(group: str) -> str:
    return group.removeprefix("name_") if group.startswith("name_") else f"*{group.removeprefix('star')}"
