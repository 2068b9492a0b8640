"""Small GGUF files, written by llama.cpp's own package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def write_gguf(path: Path, tensors: Mapping[str, Array | tuple[Array, str]], metadata: Mapping[str, Any] | None = None) -> Path:
    """A file with these tensors, of which (array, kind) are stored as that kind, and these metadata."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in (metadata or {}).items():
        _ADD[type(value)](writer, key, value)
    for key, given in tensors.items():
        array, kind = given if isinstance(given, tuple) else (given, None)
        if kind is None:
            writer.add_tensor(key, array)
        else:
            type_ = gguf.GGMLQuantizationType[kind]
            stored = array if array.dtype == np.uint8 else gguf.quantize(array, type_)
            writer.add_tensor(key, stored, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_ADD: Mapping[type, Any] = {
    bool: gguf.GGUFWriter.add_bool,
    int: gguf.GGUFWriter.add_uint32,
    float: gguf.GGUFWriter.add_float32,
    str: gguf.GGUFWriter.add_string,
    list: gguf.GGUFWriter.add_array,
}


def random_blocks(kind: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """The bytes of a quantised tensor whose codes and scales are random but finite: uint8 [..., bytes of a row]."""
    elements, nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (*shape[:-1], shape[-1] // elements, nbytes), np.uint8)
    for start in HALVES[kind]:
        blocks[..., start : start + 2] = rng.standard_normal(blocks.shape[:-1]).astype(np.float16)[..., None].view(np.uint8)
    return blocks.reshape(*shape[:-1], -1)


HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
