"""Deterministic weights and inputs that anyone can recompute from a name and a shape: NumPy only, no random state.

Both sides of a comparison fill the same checkpoint, so that only the expected outputs need to be stored.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def uniform(key: str, shape: tuple[int, ...]) -> Array:
    """float32 in [-1, 1), multiples of 2^-23: Philox-4x64 raw bits, keyed by the SHA-256 of the text."""
    philox = np.random.Philox(key=int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little"))
    bits = philox.random_raw(math.prod(shape)) >> np.uint64(40)
    return (bits.astype(np.float32) * np.float32(2**-23) - np.float32(1)).reshape(shape)


def fill(key: str, shape: tuple[int, ...]) -> Array:
    """The value of one entry of a checkpoint. Its scale follows from its name, and keeps activations near 1."""
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
