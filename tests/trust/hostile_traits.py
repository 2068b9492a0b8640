"""What a hostile input is made of, as it stands in its folder: that each kind of harm is really tried can be counted."""

from __future__ import annotations

import re
from pathlib import Path

from hostile_specs import TRICKS

MUTATED, BOMB, DEEP, HUGE, TRICK, LINK, ZIP, TENSORS = (
    "valid files with something changed",
    "YAML bombs",
    "deep nesting",
    "huge numbers",
    "Unicode and control characters",
    "links",
    "zip archives with other records or sizes",
    "headers of tensors that lie",
)
TRAITS = (MUTATED, BOMB, DEEP, HUGE, TRICK, LINK, ZIP, TENSORS)
_MADE = ("bomb", "file", "checkpoint: file")  # from nothing
_TENSORS = ("checkpoint: safetensors", "checkpoint: gguf", "checkpoint: shards", "adapter: weights", "adapter: alone", "bundle: onnx")
_ZIP = ("checkpoint: torch: zip bytes", "checkpoint: torch: records", "checkpoint: torch: bomb", "bundle: archive")
_DEEP = re.compile(r"(?:[\[{(][^\[\]{}()]{0,40}){61}|(?:- ){61}|^ {61,}\S", re.MULTILINE)
_HUGE = re.compile(r"\d{17}|\d[eE]\+?\d{3}|0x[0-9a-fA-F]{17}|\*\* ?\d{2}")
_ODD = {c for text in TRICKS for c in text if c not in "é\r\n" and (c > "~" or c < " ")}
_ESCAPED = re.compile(r"\\(?:u(?!00[2-7])[0-9a-fA-F]{4}|e|0|x1b)")
_LARGEST = 1 << 21  # bytes of a text


def traits(kind: str, folder: Path) -> tuple[str, ...]:
    """Which of `TRAITS` an input of a kind has that was written to a folder."""
    text = "\n".join(path.read_bytes().decode("utf-8", "replace") for path in _texts(folder))
    found = {
        MUTATED: not kind.startswith(_MADE),
        BOMB: kind.startswith("bomb"),
        DEEP: _DEEP.search(text) is not None or kind == "bundle: onnx nesting",
        HUGE: _HUGE.search(text) is not None,
        TRICK: not _ODD.isdisjoint(text) or _ESCAPED.search(text) is not None,
        LINK: any(path.is_symlink() for path in folder.rglob("*")),
        ZIP: kind.startswith(_ZIP),
        TENSORS: kind.startswith(_TENSORS),
    }
    return tuple(trait for trait, has in found.items() if has)


def _texts(folder: Path) -> list[Path]:
    paths = [path for ending in ("yaml", "json") for path in folder.rglob(f"*.{ending}")]
    return [path for path in sorted(paths) if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST]
