"""Weights in blocks: those that a checkpoint holds so are repacked as they are, others are rounded to the nearest code of their group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from lamina.compiler.blocked import BlockPart, Layout
from lamina.compiler.graph import Parameter
from lamina.compiler.weights.blocks import BlockQuantized, Blocks
from lamina.compiler.weights.tensor import PIECE, Array, ArrayTensor, Tensor, Weights, fixed_shape, pieces

_GROUP = 32
_LEAST = 1024  # numbers: a smaller matrix gains nothing


@final
@dataclass(frozen=True, slots=True)
class Quantizer:
    """Gives weights, and the parts of those that are kept in blocks. `bits` is how many a code has where the checkpoint holds numbers."""

    weights: Weights | None
    bits: int

    @staticmethod
    def of(weights: Weights | None, precision: str) -> Quantizer:
        """For `int8` or `int4`."""
        return Quantizer(weights, 4 if precision == "int4" else 8)

    def layout(self, parameter: Parameter) -> Layout | None:
        """How a matrix [N, K] is kept in blocks; None where it is not."""
        rows, columns = fixed_shape(parameter)
        held = None if self.weights is None else self.weights.get(parameter)
        if isinstance(held, BlockQuantized):
            group = held.format.group
            return Layout(4 if held.format.bits <= 4 else 8, group, minima=_has_minima(held)) if columns % group == 0 else None
        if columns % _GROUP or rows * columns < _LEAST:
            return None
        return Layout(self.bits, _GROUP, zeros=self.bits == 4)

    def get(self, parameter: Parameter) -> Tensor:
        """A weight, or a part of one."""
        assert self.weights is not None
        if not isinstance(parameter, BlockPart):
            return self.weights.get(parameter)
        return PartTensor(parameter.name, parameter.dtype, fixed_shape(parameter), parameter, self.weights.get(parameter.whole))


@final
@dataclass(frozen=True, slots=True)
class Rounded:
    """Weights of which some are the numbers that their blocks stand for."""

    weights: Weights
    layouts: Mapping[str, Layout]

    def get(self, parameter: Parameter) -> Tensor:
        """A weight, rounded where it has a layout."""
        found, layout = self.weights.get(parameter), self.layouts.get(parameter.name)
        if layout is None:
            return found
        rows = [_numbers(blocks, layout) for blocks in _blocks(found, layout)]
        return ArrayTensor(parameter.name, parameter.dtype, found.shape, np.concatenate(rows))


def _numbers(rows: _Rows, layout: Layout) -> Array:
    zeros = np.full_like(rows.scales, 1 << (layout.bits - 1)) if rows.zeros is None else rows.zeros.astype(np.float32)
    groups = (rows.codes.reshape(*rows.scales.shape, layout.group) - zeros[..., None]) * rows.scales[..., None]
    found: Array = groups if rows.minima is None else groups + rows.minima[..., None]
    return found.reshape(rows.codes.shape)


def _has_minima(tensor: BlockQuantized) -> bool:
    return tensor.blocks(0, 1).minima is not None


@final
@dataclass(frozen=True, slots=True, eq=False)
class PartTensor(Tensor):
    """A part of a matrix, made a few rows at a time."""

    of: BlockPart
    whole: Tensor

    def numpy(self) -> Array:
        axis = 1 if self.of.part == "minima" else 0
        return np.concatenate(list(self._pieces()), axis=axis)

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        made = [self.numpy()] if self.of.part == "minima" else self._pieces()
        for rows in made:
            yield from pieces(np.ascontiguousarray(rows), max_bytes)

    def _pieces(self) -> Iterator[Array]:
        layout, make = self.of.whole.layout, _PARTS[self.of.part]
        for blocks in _blocks(self.whole, layout):
            yield make(blocks, layout)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows in the layout: codes uint8 [rows, K], scales float32 [rows, groups], zeros and minima like scales or None."""

    codes: Array
    scales: Array
    zeros: Array | None
    minima: Array | None


def _blocks(whole: Tensor, layout: Layout) -> Iterator[_Rows]:
    rows, columns = whole.shape
    step = max(1, PIECE // (4 * columns))
    numbers = None if isinstance(whole, BlockQuantized) else whole.numpy()
    for start in range(0, rows, step):
        if isinstance(whole, BlockQuantized):
            yield _repacked(whole.blocks(start, start + step), layout)
        else:
            assert numbers is not None
            yield _rounded(numbers[start : start + step].astype(np.float32, copy=False), layout)


def _repacked(held: Blocks, layout: Layout) -> _Rows:
    """The same numbers, with codes around half of their range: what the shift of the zero adds to a number goes to its minimum."""
    middle = 1 << (layout.bits - 1)
    if held.minima is None:
        return _Rows((held.codes.astype(np.int16) + (middle - held.zero)).astype(np.uint8), held.scales, None, None)
    minima = held.minima + held.scales * np.float32(middle - held.zero)
    return _Rows(held.codes.astype(np.uint8), held.scales, None, minima)


def _rounded(numbers: Array, layout: Layout) -> _Rows:
    """The nearest codes: between a group's least and greatest number, 0 among them, or with 8 bits around 0."""
    groups = numbers.reshape(len(numbers), -1, layout.group)
    top = (1 << layout.bits) - 1
    if layout.zeros:
        low, high = np.minimum(groups.min(2), 0), np.maximum(groups.max(2), 0)
        scales = np.maximum((high - low) / np.float32(top), np.float32(1e-30))
        zeros = np.clip(np.rint(-low / scales), 0, top)
    else:
        scales = np.maximum(np.abs(groups).max(2) / np.float32(top // 2), np.float32(1e-30))
        zeros = np.full_like(scales, top // 2 + 1)
    codes = np.clip(np.rint(groups / scales[..., None]) + zeros[..., None], 0, top).astype(np.uint8)
    return _Rows(codes.reshape(numbers.shape), scales, zeros.astype(np.uint8) if layout.zeros else None, None)


def _codes(rows: _Rows, layout: Layout) -> Array:
    grouped = rows.codes.reshape(*rows.scales.shape, layout.group)
    return _nibbles(grouped) if layout.bits == 4 else grouped


def _zeros(rows: _Rows, layout: Layout) -> Array:
    assert rows.zeros is not None
    if layout.bits == 8:
        return rows.zeros
    return _nibbles(np.pad(rows.zeros, ((0, 0), (0, rows.zeros.shape[1] % 2))))


def _minima(rows: _Rows, layout: Layout) -> Array:
    assert rows.minima is not None
    return rows.minima.T


def _nibbles(codes: Array) -> Array:
    """Two codes a byte, the first in its low half."""
    packed: Array = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return packed


_PARTS: dict[str, Callable[[_Rows, Layout], Array]] = {
    "codes": _codes,
    "scales": lambda rows, layout: rows.scales,
    "zeros": _zeros,
    "minima": _minima,
}
