"""Safetensors files, read lazily. The header is not trusted: every size and offset is checked before a tensor is made."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.weights.tensor import FileTensor, Tensor
from lamina.schema.diagnostics import Fault, Span

_METADATA = "__metadata__"
MAX_HEADER = 100_000_000  # bytes: the format's own limit
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, by key. Raises Fault, placed at the file, when it is damaged or hostile."""
    entries, start, size = _header(path)
    entries.pop(_METADATA, None)
    tensors = {key: _tensor(path, key, entry, start) for key, entry in entries.items()}
    _check_layout(path, tensors, start, size)
    return dict[str, Tensor](tensors)


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a file says of itself. Raises Fault like `read_safetensors`."""
    found = _header(path)[0].get(_METADATA, {})
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise _bad(path, "its metadata are not texts by name")
    return found


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Its entries, where the tensors start, and the size of the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER, size - 8):
                raise _bad(
                    path,
                    f"its header should be {length:,} bytes long, but the file has {size:,}" if size >= 8 else f"it has only {size} bytes",
                )
            header = file.read(length)
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    return load_json(path, header), 8 + length, size


def load_json(path: Path, text: bytes, kind: str = "safetensors", what: str = "its header") -> dict[str, Any]:
    """A JSON object whose keys are all different; `what` it is, of a file of that kind. Raises Fault."""
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"{what} is not valid JSON ({str(error) or 'nested too deep'})", kind) from error
    if not isinstance(found, dict):
        raise _bad(path, f"{what} is not a JSON object", kind)
    return found


def damaged(path: Path, what: str, hint: str = "") -> Fault:
    """An error about a checkpoint file as a whole."""
    return Fault("weights", f"the checkpoint {what}", Span(str(path), 1, 1), hint)


def _bad(path: Path, why: str, kind: str = "safetensors") -> Fault:
    return damaged(path, f"is damaged, or not a {kind} file: {why}", "download it again")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _tensor(path: Path, key: str, entry: Any, base: int) -> FileTensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _bad(path, f"the entry of `{key}` is not {{dtype, shape, data_offsets}}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        raise _bad(path, f"the shape or the offsets of `{key}` are not lists of sizes")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise damaged(
            path, f"holds `{key}` as {str(dtype)[:20]}, a dtype that is not supported", f"convert it to one of {', '.join(DTYPES)}"
        )
    nbytes = math.prod(shape) * numpy_dtype(DTYPES[dtype]).itemsize
    if offsets[1] - offsets[0] != nbytes:
        raise _bad(path, f"`{key}` is {DTYPES[dtype]}{shape}, {nbytes:,} bytes, but stands from {offsets[0]:,} to {offsets[1]:,}")
    return FileTensor(key, DTYPES[dtype], tuple(shape), path, base + offsets[0])


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 64 and all(type(s) is int and 0 <= s < 2**63 for s in value)


def _check_layout(path: Path, tensors: dict[str, FileTensor], start: int, size: int) -> None:
    """The format allows neither gaps nor overlaps nor a tail, so that nothing hides and no number is read twice."""
    position = start
    for tensor in sorted(tensors.values(), key=lambda t: (t.offset, t.nbytes)):
        if tensor.offset != position:
            raise _bad(path, f"`{tensor.name}` {'overlaps the tensor before it' if tensor.offset < position else 'has a gap before it'}")
        position += tensor.nbytes
    if position != size:
        cut = f"{position - size:,} bytes are missing at its end" if size < position else f"it has {size - position:,} bytes too many"
        raise _bad(path, cut)
