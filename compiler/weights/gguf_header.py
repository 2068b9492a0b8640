"""The header of a GGUF file: metadata, and where its tensors stand. It is not trusted: every count, length and kind is checked."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from lamina.compiler.weights.safetensors import damaged
from lamina.schema.diagnostics import Fault

MAX_HEADER = 256 << 20  # bytes; a vocabulary of 262,144 tokens with its merges takes about 12 MB
MAX_ENTRIES = 65_536  # of the metadata
MAX_TENSORS = 1_000_000
MAX_ITEMS = 4_000_000  # texts in arrays
MAX_NAME = 500  # bytes, of a key or a tensor
MAX_TEXT = 4 << 20  # bytes of one value
MAX_DIMS = 4
_TEXT, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "B", 10: "Q", 11: "q", 12: "d"}  # struct's letters, by kind

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Items:
    """An array of the metadata, left in the file: its kind, how many items, and where the first stands."""

    kind: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor as the header describes it; `dims` are ggml's, the fastest first, and `offset` counts from where the data start."""

    name: str
    dims: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. `end` is the byte after the header, `size` the file's length."""

    path: Path
    metadata: Mapping[str, Scalar | Items]
    entries: tuple[Entry, ...]
    end: int
    size: int

    def items(self, key: str) -> list[Scalar] | None:
        """An array of the metadata, read now; None where there is none under this key. Raises Fault."""
        place = self.metadata.get(key)
        return self.read(place) if isinstance(place, Items) else None

    def read(self, place: Items) -> list[Scalar]:
        """The items of an array. Raises Fault."""
        with _opened(self.path) as data:
            return _Cursor(self.path, data, place.offset).values(place.kind, place.count)


def read_header(path: Path) -> Header:
    """The header of a file of version 2 or 3. Raises Fault, placed at the file, when it is damaged, hostile or of another kind."""
    with _opened(path) as data:
        cursor = _Cursor(path, data)
        entries, tensors = _counts(cursor)
        metadata: dict[str, Scalar | Items] = {}
        for _ in range(entries):
            key = cursor.name("a metadata key")
            if key in metadata:
                raise bad(path, f"the metadata key `{key}` is given twice")
            metadata[key] = cursor.value(cursor.number("I"))
        found = tuple(_entry(cursor) for _ in range(tensors))
        return Header(path, metadata, found, cursor.position, len(data))


def bad(path: Path, why: str) -> Fault:
    """An error about a file that is not what it should be."""
    return damaged(path, f"is damaged, or not a GGUF file: {why}", "download it again")


def _opened(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise bad(path, "it is empty") from error


def _counts(cursor: _Cursor) -> tuple[int, int]:
    """The numbers of metadata entries and of tensors."""
    path = cursor.path
    if cursor.take(4) != b"GGUF":
        raise bad(path, "it does not begin with `GGUF`")
    version = cursor.number("I")
    if version not in (2, 3):
        what = "in big-endian order" if version >> 24 in (1, 2, 3) else f"of GGUF's version {version}"
        raise damaged(path, f"is a file {what}, which is not read", "convert the model again with a newer llama.cpp, for version 3")
    tensors, entries = cursor.number("Q"), cursor.number("Q")
    if tensors > MAX_TENSORS or entries > MAX_ENTRIES:
        raise bad(
            path,
            f"it should hold {tensors:,} tensors and {entries:,} metadata entries; at most {MAX_TENSORS:,} and {MAX_ENTRIES:,} are read",
        )
    return entries, tensors


def _entry(cursor: _Cursor) -> Entry:
    name = cursor.name("a tensor's name")
    rank = cursor.number("I")
    if rank > MAX_DIMS:
        raise bad(cursor.path, f"`{name}` should have {rank:,} dimensions; a tensor has at most {MAX_DIMS}")
    dims = tuple(cursor.number("Q") for _ in range(rank))
    return Entry(name, dims, cursor.number("I"), cursor.number("Q"))


@final
class _Cursor:
    """A place in the file that moves on as values are read. Nothing is read past the end of the file, nor past what a header may hold."""

    def __init__(self, path: Path, data: mmap.mmap, position: int = 0) -> None:
        self.path, self.data, self.position = path, data, position
        self.end, self.texts = min(len(data), MAX_HEADER), 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        start = self.skip(count)
        return self.data[start : self.position]

    def skip(self, count: int) -> int:
        """Move on; returns where it was."""
        start = self.position
        if count > self.end - start:
            ends = f"the file has {len(self.data):,}" if self.end == len(self.data) else f"a header has at most {MAX_HEADER:,}"
            raise bad(self.path, f"its header goes on for {count:,} bytes from byte {start:,}, but {ends}")
        self.position = start + count
        return start

    def number(self, letter: str) -> int:
        """An integer."""
        found: int = struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))[0]
        return found

    def text(self, limit: int, what: str) -> str:
        length = self.number("Q")
        if length > limit:
            raise bad(self.path, f"{what} should have {length:,} bytes; at most {limit:,} are read")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise bad(self.path, f"{what} at byte {self.position - length:,} is not UTF-8") from error

    def name(self, what: str) -> str:
        """A key or a tensor's name."""
        found = self.text(MAX_NAME, what)
        if not found or not found.isprintable():
            raise bad(self.path, f"{what} is {'empty' if not found else repr(found[:40])}")
        return found

    def value(self, kind: int) -> Scalar | Items:
        """A value of the metadata; an array is passed over."""
        if kind != _ARRAY:
            return self.values(kind, 1)[0]
        item, count = self.number("I"), self.number("Q")
        place = Items(item, count, self.position)
        if item == _TEXT:
            self._pass_texts(count)
        else:
            self.skip(count * struct.calcsize(self._letter(item)))
        return place

    def values(self, kind: int, count: int) -> list[Scalar]:
        """As many scalars of one kind, one after the other."""
        if kind == _TEXT:
            return [self.text(MAX_TEXT, "a text of the metadata") for _ in range(count)]
        letter = self._letter(kind)
        found: list[Scalar] = [*struct.unpack(f"<{count}{letter}", self.take(count * struct.calcsize(letter)))]
        if kind == _BOOL and not {*found} <= {0, 1}:
            raise bad(self.path, f"a boolean at byte {self.position - count:,} is neither 0 nor 1")
        return [bool(v) for v in found] if kind == _BOOL else found

    def _letter(self, kind: int) -> str:
        if kind not in _NUMBERS:
            what = "an array of arrays" if kind == _ARRAY else f"of the unknown kind {kind}"
            raise bad(self.path, f"the metadata value at byte {self.position:,} is {what}")
        return _NUMBERS[kind]

    def _pass_texts(self, count: int) -> None:
        """Move past texts without reading them: a vocabulary is wanted by the tokenizer alone."""
        self.texts += count
        if self.texts > MAX_ITEMS or count * 8 > self.end - self.position:
            raise bad(self.path, f"an array at byte {self.position:,} should hold {count:,} texts, more than there can be")
        data, end, position = self.data, self.end, self.position
        for _ in range(count):
            position += 8 + int.from_bytes(data[position : position + 8], "little")
            if position > end:
                break
        self.position = end if position > end else position
        if position > end:
            self.skip(position - end)
