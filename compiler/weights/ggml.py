"""ggml's block formats: numbers in groups that share a scale (and, in some, a minimum), as GGUF files store them.

A format says how a block's bytes come apart into codes, scales and minima; a number is `scale * (code - zero) + minimum`, computed in
float32 in that order, which gives the bits that llama.cpp's own `gguf` package gives. Layouts: ggml-common.h of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Parts = tuple[Array, Array, Array | None]  # codes [n, elements], scales [n, groups], minima [n, groups] or None


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """One format. `unpack` takes blocks as uint8 [n, nbytes]; its codes are uint8 or int8, its scales and minima float32."""

    name: str
    elements: int  # numbers in a block
    nbytes: int  # bytes of a block
    group: int  # numbers that share a scale
    zero: int  # the code that stands for 0, before the minimum is added
    bits: int  # of a code
    unpack: Callable[[Array], Parts]

    @property
    def dtype(self) -> Literal["float16", "float32"]:
        """Of scales and minima: a block that is one group holds them, others hold what they are products of."""
        return "float16" if self.group == self.elements else "float32"


def _half(blocks: Array, start: int) -> Array:
    """The float16 at a place of every block, as float32 [n, 1]."""
    found: Array = np.ascontiguousarray(blocks[:, start : start + 2]).view(np.float16).astype(np.float32)
    return found


def _nibbles(packed: Array) -> Array:
    """[n, k] bytes to [n, 2k] codes: all low halves, then all high halves."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _fifth_bits(blocks: Array, start: int) -> Array:
    """The fifth bit of 32 codes: bit k of the 4 bytes at `start` is code k's. Returns uint8 [n, 32] of 0 or 16."""
    return np.unpackbits(blocks[:, start : start + 4], axis=1, bitorder="little") << 4


def _q4_0(blocks: Array) -> Parts:
    return _nibbles(blocks[:, 2:]), _half(blocks, 0), None


def _q4_1(blocks: Array) -> Parts:
    return _nibbles(blocks[:, 4:]), _half(blocks, 0), _half(blocks, 2)


def _q5_0(blocks: Array) -> Parts:
    return _nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2), _half(blocks, 0), None


def _q5_1(blocks: Array) -> Parts:
    return _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4), _half(blocks, 0), _half(blocks, 2)


def _q8_0(blocks: Array) -> Parts:
    return blocks[:, 2:].view(np.int8), _half(blocks, 0), None


def _six_bits(packed: Array) -> tuple[Array, Array]:
    """Eight scales and eight minima of six bits each, packed in 12 bytes. Returns float32 [n, 8] twice."""
    d, m, both = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([d & 63, (both & 15) | ((d >> 2) & 48)], axis=1)
    minima = np.concatenate([m & 63, (both >> 4) | ((m >> 2) & 48)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _k_parts(blocks: Array, codes: Array) -> Parts:
    """Q4_K and Q5_K begin alike: a scale of the scales, a scale of the minima, and both in six bits each."""
    scales, minima = _six_bits(blocks[:, 4:16])
    return codes, _half(blocks, 0) * scales, -(_half(blocks, 2) * minima)


def _runs(packed: Array) -> Array:
    """[n, 128] bytes to [n, 256] codes: of every 32 bytes the low halves, then the high halves."""
    return _nibbles(packed.reshape(-1, 32)).reshape(-1, 256)


def _q4_k(blocks: Array) -> Parts:
    return _k_parts(blocks, _runs(blocks[:, 16:]))


def _q5_k(blocks: Array) -> Parts:
    """Bit j of the 32 bytes at 16 is the fifth of the codes of run j."""
    high = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None]) & 1
    return _k_parts(blocks, _runs(blocks[:, 48:]) | (high.reshape(-1, 256) << 4))


def _q6_k(blocks: Array) -> Parts:
    """Of each half: 64 bytes with the low four bits of two runs of 64 codes, and 32 bytes with the high two bits of four runs of 32."""
    low = _nibbles(blocks[:, :128].reshape(-1, 64)).reshape(-1, 256)
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]) & 3
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32)
    return low | (high.reshape(-1, 256) << 4), _half(blocks, 208) * scales, None


FORMATS = {
    f.name: f
    for f in (
        BlockFormat("Q4_0", 32, 18, 32, 8, 4, _q4_0),
        BlockFormat("Q4_1", 32, 20, 32, 0, 4, _q4_1),
        BlockFormat("Q5_0", 32, 22, 32, 16, 5, _q5_0),
        BlockFormat("Q5_1", 32, 24, 32, 0, 5, _q5_1),
        BlockFormat("Q8_0", 32, 34, 32, 0, 8, _q8_0),
        BlockFormat("Q4_K", 256, 144, 32, 0, 4, _q4_k),
        BlockFormat("Q5_K", 256, 176, 32, 0, 5, _q5_k),
        BlockFormat("Q6_K", 256, 210, 16, 32, 6, _q6_k),
    )
}
