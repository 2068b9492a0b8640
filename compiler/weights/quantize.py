"""Weights in blocks: those that a checkpoint holds so are repacked as they are, others are rounded to the nearest code of their group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from lamina.compiler.blocked import BlockPart, Layout
from lamina.compiler.graph import Parameter
from lamina.compiler.precision import precision_of
from lamina.compiler.weights.blocks import BlockQuantized, Blocks
from lamina.compiler.weights.finite import finite
from lamina.compiler.weights.tensor import PIECE, Array, ArrayTensor, Tensor, Weights, fixed_shape, pieces
from lamina.schema.diagnostics import Diagnostic, Span, SpecError
from lamina.schema.dims import Precision
from lamina.schema.spec import WeightPrecision

_GROUP = 32
_LEAST = 1024  # numbers: a smaller matrix gains nothing
_BLOCKED = ("int8", "int4", "int8-dynamic")
_LEAST_STEP = {"float16": np.float32(2**-24), "float32": np.float32(2**-126)}


@final
@dataclass(frozen=True, slots=True)
class Quantizer:
    """Gives weights, and the parts of those that are kept in blocks: what `precision` says, or a rule of the spec for some."""

    weights: Weights | None
    precision: Precision
    rules: tuple[WeightPrecision, ...] = ()

    @property
    def rounds(self) -> bool:
        """Whether it may keep any weight in blocks."""
        return any(kept in _BLOCKED for kept in (self.precision, *(rule.precision for rule in self.rules)))

    def layout(self, parameter: Parameter) -> Layout | None:
        """How a matrix [N, K] is kept in blocks; None where it is not."""
        precision = precision_of(parameter.name, self.rules, self.precision)
        if precision not in _BLOCKED:
            return None
        rows, columns = fixed_shape(parameter)
        held = None if self.weights is None else self.weights.get(parameter)
        if isinstance(held, BlockQuantized):
            form = held.format
            return Layout(4 if form.bits <= 4 else 8, form.group, _has_minima(held), form.dtype) if columns % form.group == 0 else None
        if rows * columns < _LEAST:
            return None
        if precision == "int8-dynamic":
            return Layout(8, columns, dtype="float32", dynamic=True)
        if columns % _GROUP:
            return None
        return Layout(8, _GROUP) if precision == "int8" else Layout(4, _GROUP, minima=True)

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
    groups = (rows.codes.reshape(*rows.scales.shape, layout.group).astype(np.float32) - np.float32(layout.zero)) * rows.scales[..., None]
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
        return np.concatenate(list(self._pieces()))

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        for rows in self._pieces():
            yield from pieces(np.ascontiguousarray(rows), max_bytes)

    def _pieces(self) -> Iterator[Array]:
        layout = self.of.whole.layout
        for rows in _blocks(self.whole, layout):
            part = _codes(rows, layout) if self.of.part == "codes" else rows.scales if self.of.part == "scales" else rows.minima
            assert part is not None
            with np.errstate(over="ignore"):
                stored = part.astype(self.dtype, copy=False)
            if self.dtype != "uint8" and not finite(stored, self.dtype):
                raise _too_large(self.whole.name)
            yield stored


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows in the layout: codes uint8 [rows, K], scales float32 [rows, groups], minima like scales or None."""

    codes: Array
    scales: Array
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
    """The same numbers; what the shift of a zero adds to them goes to their minimum."""
    codes = held.codes.astype(np.int16)
    if held.minima is None:
        return _Rows((codes + (layout.zero - held.zero)).astype(np.uint8), held.scales, None)
    return _Rows(codes.astype(np.uint8), held.scales, held.minima - held.scales * np.float32(held.zero))


def _rounded(numbers: Array, layout: Layout) -> _Rows:
    """The nearest codes: between a group's least and greatest number, or with 8 bits around 0, in steps that the layout's dtype holds."""
    groups = numbers.reshape(len(numbers), -1, layout.group)
    top = (1 << layout.bits) - 1
    minima = _held(groups.min(2), layout) if layout.minima else None
    if minima is None:
        scales = _held(np.abs(groups).max(2) / np.float32(top // 2), layout)
    else:
        groups = groups - minima[..., None]
        scales = _held(groups.max(2) / np.float32(top), layout)
    steps = np.maximum(scales, _LEAST_STEP[layout.dtype])[..., None]
    with np.errstate(invalid="ignore"):  # of a scale or minimum that float16 does not reach, which is refused where it is stored
        codes = np.clip(np.rint(groups / steps) + layout.zero, 0, top).astype(np.uint8)
    return _Rows(codes.reshape(numbers.shape), scales, minima)


def _held(numbers: Array, layout: Layout) -> Array:
    """float32, rounded as the layout's dtype rounds."""
    with np.errstate(over="ignore"):
        return numbers.astype(layout.dtype).astype(np.float32)


def _too_large(weight: str) -> SpecError:
    message = f"the weight `{weight}` holds numbers beyond 65504, which blocks of small integers cannot stand for"
    return SpecError(
        [
            Diagnostic(
                "weights",
                message,
                Span(weight, 1, 1),
                "keep it in float32: compile without `--precision`, or name it in the spec's `precision`",
            )
        ]
    )


def _codes(rows: _Rows, layout: Layout) -> Array:
    """As they are stored: of 4 bits two in a byte, the first in its low half."""
    grouped = rows.codes.reshape(*rows.scales.shape, layout.group)
    packed: Array = grouped[..., 0::2] | (grouped[..., 1::2] << 4) if layout.bits == 4 else grouped
    return packed
