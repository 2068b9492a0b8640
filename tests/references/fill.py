"""Deterministic weights and inputs that anyone can recompute from a name and a shape: NumPy only, no random state.

Both sides of a comparison fill the same checkpoint, so that only the expected outputs need to be stored.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def uniform(key: str, shape: tuple[int, ...]) -> Array:
    """float32 in [-1, 1), multiples of 2^-23: Philox-4x64 raw bits, keyed by the SHA-256 of the text."""
    philox = np.random.Philox(key=int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little"))
    bits = philox.random_raw(math.prod(shape)) >> np.uint64(40)
    return (bits.astype(np.float32) * np.float32(2**-23) - np.float32(1)).reshape(shape)


@dataclass(frozen=True)
class Scale:
    """Entries whose keys match the pattern are drawn around `center`, at most `spread` away."""

    pattern: str
    center: float
    spread: float


@dataclass(frozen=True)
class Draw:
    """An input: floats from `low` to `high`, or whole numbers from `low` up to and without `high`, which may be one for each column."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: float = -1.0
    high: float | Sequence[float] = 1.0

    def array(self, name: str) -> Array:
        """The values, which follow from the name and the shape."""
        unit = (uniform(name, tuple(self.shape)) + np.float32(1)) / np.float32(2)
        values = np.float32(self.low) + (np.asarray(self.high, np.float64) - self.low).astype(np.float32) * unit
        return values.astype(self.dtype) if self.dtype.startswith("float") else np.floor(values).astype(self.dtype)


def fill(key: str, shape: tuple[int, ...], scales: Sequence[Scale] = ()) -> Array:
    """The value of one entry of a checkpoint. Its scale follows from its name, unless one is given, and keeps activations near 1."""
    for scale in scales:
        if fnmatchcase(key, scale.pattern):
            return np.float32(scale.center) + np.float32(scale.spread) * uniform(key, shape)
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    u = uniform(key, shape)
    if last == "running_var":
        return np.float32(1) + np.float32(0.5) * u
    if last in ("gamma", "scale", "layer_scale_1", "layer_scale_2"):  # large enough for every residual branch to matter
        return np.float32(0.3) + np.float32(0.1) * u
    if last == "weight" and len(shape) == 1:
        return np.float32(1) + np.float32(0.25) * u
    if last == "weight":
        return np.float32(math.sqrt(3 / math.prod(shape[1:]))) * u
    return np.float32(0.2) * u  # biases, running means, position embeddings


def image(shape: tuple[int, int, int, int]) -> Array:
    """A batch of float32 images [N, C, H, W]: noise, around a level of its own for each image and channel so that their means differ."""
    levels = uniform("image.level", shape[:2])[:, :, None, None]
    return (levels + np.float32(0.5) * uniform("image", shape)).astype(np.float32)
