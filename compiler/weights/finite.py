"""Weights are numbers: a NaN or an infinity in a checkpoint is found while the weight is read, and named by its path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from lamina.compiler.weights.tensor import PIECE, Array, Tensor
from lamina.schema.diagnostics import Diagnostic, Span, SpecError
from lamina.schema.dims import FLOATS

_EXPONENT = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000, "float64": 0x7FF0000000000000}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Finite(Tensor):
    """The source, whose numbers are looked at as they are read. Raises SpecError for one that is not finite."""

    source: Tensor

    def numpy(self) -> Array:
        array = self.source.numpy()
        if not finite(array, self.dtype):
            raise not_finite(self.name, _first(array), self.shape)
        return array

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        done = 0
        for piece in self.source.chunks(max_bytes):
            if not finite(piece, self.dtype):
                raise not_finite(self.name, done + _first(piece), self.shape)
            done += piece.size
            yield piece


def checked(tensor: Tensor) -> Tensor:
    """The tensor, refusing numbers that are not finite. Integers are all finite."""
    return Finite(tensor.name, tensor.dtype, tensor.shape, tensor) if tensor.dtype in FLOATS else tensor


def finite(array: Array, dtype: str) -> bool:
    """Whether every number is finite. Read as integers, NaN and infinity are the largest, those of either sign: two maxima find them in
    20 us a MiB, where writing it takes about 1 ms; `isfinite` is as fast for float32, and 30 times slower for float16."""
    if not array.size:
        return True
    bits, limit = array.dtype.itemsize * 8, _EXPONENT[dtype]
    if array.view(f"i{bits // 8}").max() >= limit:
        return False
    return bool(array.view(f"u{bits // 8}").max() < limit | 1 << bits - 1)


def _first(array: Array) -> int:
    """The place of the first number that is not finite, counted in row-major order."""
    with np.errstate(invalid="ignore"):
        return int(np.argmin(np.isfinite(array)))


def not_finite(name: str, element: int, shape: tuple[int, ...]) -> SpecError:
    """The error that names a weight and the place of its first such number."""
    place = [int(i) for i in np.unravel_index(element, shape)] if shape else []
    message = f"the weight `{name}` has a NaN or an infinity at {place} of {list(shape)}"
    return SpecError(
        [Diagnostic("weights", message, Span(name, 1, 1), "the checkpoint is damaged, or its training diverged: take another")]
    )
