"""Tensors that stand in a file as blocks of small integers with scales: numbers when they are read, blocks for whoever repacks them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np

from lamina.compiler.weights.finite import not_finite
from lamina.compiler.weights.ggml import BlockFormat
from lamina.compiler.weights.tensor import PIECE, Array, Tensor, pieces


@dataclass(frozen=True, slots=True)
class Blocks:
    """Some rows of a tensor as they are stored: a number is `scale * (code - zero) + minimum`, in float32.

    `codes` is uint8 or int8 [rows, K], `scales` float32 [rows, K / group], `minima` the same or None.
    """

    codes: Array
    scales: Array
    minima: Array | None
    zero: int
    group: int

    def numbers(self) -> Array:
        """float32 [rows, K]."""
        found = self.codes.astype(np.float32)
        if self.zero:
            found -= np.float32(self.zero)
        groups = found.reshape(*self.scales.shape, self.group)
        groups *= self.scales[..., None]
        if self.minima is not None:
            groups += self.minima[..., None]
        return found


@final
@dataclass(frozen=True, slots=True, eq=False)
class BlockQuantized(Tensor):
    """A float32 tensor whose last axis is cut into blocks. Row i of it is row `rows[i]` of the file, `rows` being int64 of shape
    `shape[:-1]`: what moves, cuts or regroups whole rows keeps the blocks. Raises SpecError for a scale that is not finite.
    """

    path: Path
    offset: int
    format: BlockFormat
    rows: Array

    def raw(self, start: int = 0, stop: int | None = None) -> Array:
        """The bytes of some of the rows, in order: uint8 [rows, K / elements, nbytes]."""
        index, (count, nbytes) = self.rows.reshape(-1)[start:stop], self._row
        if not index.size or not count:
            return np.empty((index.size, count, nbytes), np.uint8)
        low, high = int(index.min()), int(index.max()) + 1
        mapped = np.memmap(self.path, np.uint8, "r", self.offset + low * count * nbytes, (high - low, count, nbytes)).view(np.ndarray)
        in_order = high - low == index.size and bool((np.diff(index) == 1).all())
        return mapped if in_order else mapped[index - low]

    def blocks(self, start: int = 0, stop: int | None = None) -> Blocks:
        """Some of the rows, in order, taken apart."""
        raw = self.raw(start, stop)
        codes, scales, minima = self.format.unpack(raw.reshape(-1, self.format.nbytes))
        grouped = [None if p is None else p.reshape(len(raw), raw.shape[1] * p.shape[1]) for p in (scales, minima)]
        for part in grouped:
            if part is not None and not np.isfinite(part).all():
                raise self._not_finite(start, part)
        scale, minimum = grouped
        assert scale is not None
        return Blocks(codes.reshape(len(raw), self.shape[-1]), scale, minimum, self.format.zero, self.format.group)

    def numpy(self) -> Array:
        found = np.empty((self.rows.size, self.shape[-1]), np.float32)
        step = self._rows_in(PIECE)
        for start in range(0, self.rows.size, step):
            found[start : start + step] = self.blocks(start, start + step).numbers()
        return found.reshape(self.shape)

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        step = self._rows_in(max_bytes)
        for start in range(0, self.rows.size, step):
            yield from pieces(self.blocks(start, start + step).numbers(), max_bytes)

    def permuted(self, axes: tuple[int, ...]) -> Tensor:
        last = len(axes) - 1
        return self._with(self.rows.transpose(axes[:-1])) if axes[last] == last else Tensor.permuted(self, axes)

    def viewed(self, shape: tuple[int, ...]) -> Tensor:
        kept = bool(shape) and shape[-1] == self.shape[-1]
        return self._with(self.rows.reshape(shape[:-1])) if kept else Tensor.viewed(self, shape)

    def part(self, axis: int, start: int, stop: int) -> Tensor:
        rows = axis < len(self.shape) - 1
        return self._with(self.rows[(slice(None),) * axis + (slice(start, stop),)]) if rows else Tensor.part(self, axis, start, stop)

    def _with(self, rows: Array) -> BlockQuantized:
        return replace(self, shape=(*rows.shape, self.shape[-1]), rows=rows)

    @property
    def _row(self) -> tuple[int, int]:
        """Blocks in a row, and bytes of each."""
        return self.shape[-1] // self.format.elements, self.format.nbytes

    def _rows_in(self, max_bytes: int) -> int:
        return max(1, max_bytes // max(1, 4 * self.shape[-1]))

    def _not_finite(self, start: int, part: Array) -> Exception:
        row, group = np.unravel_index(int(np.argmin(np.isfinite(part))), part.shape)
        return not_finite(self.name, (start + int(row)) * self.shape[-1] + int(group) * self.format.group, self.shape)
