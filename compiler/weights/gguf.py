"""GGUF files, llama.cpp's, read lazily: plain tensors as they are, quantised ones as blocks that become float32 when they are read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.weights.blocks import BlockQuantized
from lamina.compiler.weights.ggml import FORMATS
from lamina.compiler.weights.gguf_header import Entry, Header, bad, read_header
from lamina.compiler.weights.safetensors import damaged
from lamina.compiler.weights.tensor import FileTensor, Tensor

MAX_ALIGNMENT = 1 << 20
KINDS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K",
    14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
    24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
DTYPES = {
    "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor stands: its first byte in the file, and the byte after its last."""

    name: str
    start: int
    end: int


def read_gguf(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, by key, in PyTorch's order of dims ([out, in]). Raises Fault, placed at the file, when it is damaged,
    hostile, one part of several, or holds a block format that is not supported."""
    header = read_header(path)
    _check_whole(header)
    alignment = _alignment(header)
    base = -(-header.end // alignment) * alignment
    if len({entry.name for entry in header.entries}) < len(header.entries):
        raise bad(path, "a tensor is given twice")
    places = [_place(path, entry, base) for entry in header.entries]
    _check_layout(header, places, base, alignment)
    return {entry.name: _tensor(path, entry, place.start) for entry, place in zip(header.entries, places, strict=True)}


def _check_whole(header: Header) -> None:
    parts = header.metadata.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        hint = f"join them: llama-gguf-split --merge {header.path.name} whole.gguf"
        raise damaged(header.path, f"is one of {parts} parts, which are not read one by one", hint)


def _alignment(header: Header) -> int:
    found = header.metadata.get("general.alignment", 32)
    if type(found) is not int or not 1 <= found <= MAX_ALIGNMENT or found & (found - 1):
        raise bad(header.path, f"its alignment is {found!r}; it is a power of two up to {MAX_ALIGNMENT:,}")
    return found


def _place(path: Path, entry: Entry, base: int) -> _Place:
    start = base + entry.offset
    return _Place(entry.name, start, start + _nbytes(path, entry))


def _nbytes(path: Path, entry: Entry) -> int:
    """Bytes of a tensor. Raises Fault for sizes that no file has, and for a format that is not supported."""
    kind = KINDS.get(entry.kind, f"the unknown kind {entry.kind}")
    size = math.prod(entry.dims)
    if size >= 1 << 60:
        raise bad(path, f"`{entry.name}` should have {size:,} elements")
    if kind in DTYPES:
        return size * numpy_dtype(DTYPES[kind]).itemsize
    if kind not in FORMATS:
        hint = f"convert the model to one of {', '.join((*DTYPES, *FORMATS))}, such as with llama-quantize from its F16 file"
        raise damaged(path, f"holds `{entry.name}` as {kind}, which is not supported", hint)
    width = entry.dims[0] if entry.dims else 1
    if width % FORMATS[kind].elements:
        raise bad(path, f"`{entry.name}` is {kind}, blocks of {FORMATS[kind].elements}, but its rows have {width:,} elements")
    return size // FORMATS[kind].elements * FORMATS[kind].nbytes


def _tensor(path: Path, entry: Entry, start: int) -> Tensor:
    """ggml counts the fastest dim first; the numbers stand in the same order."""
    shape = tuple(reversed(entry.dims))
    kind = KINDS[entry.kind]
    if kind in DTYPES or not math.prod(shape):
        return FileTensor(entry.name, DTYPES.get(kind, "float32"), shape, path, start)
    rows = np.arange(math.prod(shape[:-1])).reshape(shape[:-1])
    return BlockQuantized(entry.name, "float32", shape, path, start, FORMATS[kind], rows)


def _check_layout(header: Header, places: Iterable[_Place], base: int, alignment: int) -> None:
    """Each tensor starts at the first aligned byte after the one before it, so that nothing hides and no number is read twice."""
    position = base
    for place in sorted(places, key=lambda p: (p.start, p.end)):
        expected = -(-position // alignment) * alignment
        if place.start != expected:
            what = "overlaps the tensor before it" if place.start < position else "does not start where the tensor before it ends"
            raise bad(header.path, f"`{place.name}` {what}")
        position = place.end
    if header.size < position:
        raise bad(header.path, f"{position - header.size:,} bytes are missing at its end")
    if header.size > max(-(-position // alignment) * alignment, base):
        raise bad(header.path, f"it has {header.size - position:,} bytes too many")
