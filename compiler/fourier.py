"""Fourier transforms of tensors, one axis at a time; complex numbers are two real tensors.

An axis is multiplied by a matrix of cosines and sines. Up to some hundreds nothing is faster, it is the most exact form, it costs less
where few frequencies are kept, and every target has it. A large size that has factors takes two products. See benchmarks/README.md.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lamina.compiler import elementary
from lamina.compiler.builder import Builder
from lamina.compiler.factored import analyse_in_two, factors, synthesise_in_two
from lamina.compiler.graph import Value
from lamina.compiler.op import Op, OpError, fast_path, need_float
from lamina.compiler.rules import Dims, at_most, axes_of
from lamina.compiler.waves import Integers, Matrix, Waves, along, negative, to_power
from lamina.schema.dims import Size, TensorType

Norm = Literal["backward", "ortho", "forward"]
Pair = tuple[Value, Value]
Complex = tuple[Value, Value | None]  # an imaginary part that is None is zero
TO_FREQUENCIES = {"backward": 0.0, "ortho": -0.5, "forward": -1.0}
LARGEST_BLOCK = 512  # a matrix of [[cos, -sin], [sin, cos]] is one product, but has every number twice
TO_SPACE = {"backward": -1.0, "ortho": -0.5, "forward": 0.0}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: `samples` in space, `kept` frequencies. Of a half spectrum these are the lowest from 0, of a whole one the lowest of
    either sign, in the order 0, 1, ... -2, -1. The result is multiplied by samples ** power."""

    at: int
    samples: Size
    kept: Size
    half: bool
    power: float

    @property
    def whole(self) -> bool:
        """Whether all frequencies are kept."""
        return self.kept == (self.samples // 2 + 1 if self.half else self.samples)

    def waves(self, factor: float = 1.0, edge: float = 1.0) -> Waves:
        """Its frequencies against its places."""
        return Waves(self._frequencies(), Integers(self.samples), self.samples, self.samples, self.power, factor, edge)

    @property
    def large(self) -> bool:
        """Whether two products are cheaper than one."""
        return (self.half or self.whole) and factors(self.samples, self.kept) is not None

    def _frequencies(self) -> tuple[Integers, ...]:
        if self.half or self.whole:
            return (Integers(self.kept),)
        negatives = self.kept // 2
        return Integers(self.kept - negatives), Integers(negatives, self.samples - negatives)


class Transform(Op):
    """What these ops have in common: each says along which axes."""

    @abstractmethod
    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        """The axes to transform, in the order in which they were named."""


class RealAnalysis(Transform):
    """A real signal to the frequencies 0 and up along one axis, all along the others."""

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        return _spectrum(x, self.axes(x))

    def define(self, g: Builder, x: Value) -> Pair:
        return analyse(g, self.axes(_type(x)), x, None)

    @fast_path("onnx", "onnxruntime", "tensorrt")
    def factored(self, g: Builder, x: Value) -> Any:
        """Two products along the axes whose size is large."""
        axes = self.axes(_type(x))
        return analyse(g, axes, x, None, in_two=True) if any(a.large for a in axes) else NotImplemented

    @fast_path("torch")
    def functional(self, g: Builder, x: Value) -> Any:
        """PyTorch's own transform along the axes that keep all frequencies."""
        axes = self.axes(_type(x))
        return analyse(g, axes, x, None, operators=True) if any(a.whole for a in axes) else NotImplemented


class ComplexAnalysis(Transform):
    """A complex signal to frequencies."""

    def infer(self, re: TensorType, im: TensorType) -> tuple[TensorType, TensorType]:
        _need_pair(re, im)
        return _spectrum(re, self.axes(re))

    def define(self, g: Builder, re: Value, im: Value) -> Pair:
        return analyse(g, self.axes(_type(re)), re, im)

    @fast_path("onnx", "onnxruntime", "tensorrt")
    def factored(self, g: Builder, re: Value, im: Value) -> Any:
        """Two products along the axes whose size is large."""
        axes = self.axes(_type(re))
        return analyse(g, axes, re, im, in_two=True) if any(a.large for a in axes) else NotImplemented

    @fast_path("torch")
    def functional(self, g: Builder, re: Value, im: Value) -> Any:
        """PyTorch's own transform along the axes that keep all frequencies."""
        axes = self.axes(_type(re))
        return analyse(g, axes, re, im, operators=True) if any(a.whole for a in axes) else NotImplemented


class RealSynthesis(Transform):
    """Frequencies to a real signal."""

    def infer(self, re: TensorType, im: TensorType) -> TensorType:
        _need_pair(re, im)
        return _signal(re, self.axes(re))

    def define(self, g: Builder, re: Value, im: Value) -> Value:
        return synthesise(g, self.axes(_type(re)), re, im)[0]

    @fast_path("onnx", "onnxruntime", "tensorrt")
    def factored(self, g: Builder, re: Value, im: Value) -> Any:
        """Two products along the axes whose size is large."""
        axes = self.axes(_type(re))
        return synthesise(g, axes, re, im, in_two=True)[0] if any(a.large for a in axes) else NotImplemented

    @fast_path("torch")
    def functional(self, g: Builder, re: Value, im: Value) -> Value:
        """PyTorch's own transform along the axes that have all frequencies, and along the last one."""
        return synthesise(g, self.axes(_type(re)), re, im, operators=True)[0]


class ComplexSynthesis(Transform):
    """Frequencies to a complex signal."""

    def infer(self, re: TensorType, im: TensorType) -> tuple[TensorType, TensorType]:
        _need_pair(re, im)
        y = _signal(re, self.axes(re))
        return y, y

    def define(self, g: Builder, re: Value, im: Value) -> Pair:
        return synthesise(g, self.axes(_type(re)), re, im)

    @fast_path("onnx", "onnxruntime", "tensorrt")
    def factored(self, g: Builder, re: Value, im: Value) -> Any:
        """Two products along the axes whose size is large."""
        axes = self.axes(_type(re))
        return synthesise(g, axes, re, im, in_two=True) if any(a.large for a in axes) else NotImplemented

    @fast_path("torch")
    def functional(self, g: Builder, re: Value, im: Value) -> Any:
        """PyTorch's own transform along the axes that have all frequencies."""
        axes = self.axes(_type(re))
        return synthesise(g, axes, re, im, operators=True) if any(a.whole for a in axes) else NotImplemented


def analysed(x: TensorType, dims: Dims, modes: int | list[int] | None, norm: Norm, *, half: bool) -> tuple[Axis, ...]:
    """The axes of a transform to frequencies; with `half` the last axis keeps frequencies 0 and up only."""
    need_float(x)
    axes = axes_of(dims, x)
    counts = modes if isinstance(modes, list) else [modes] * len(axes)
    if len(counts) != len(axes):
        raise OpError(f"`modes` is {modes}, but {len(axes)} dimensions are transformed", f"use a number, or a list of {len(axes)}", "value")
    return tuple(_analysed(x, at, n, TO_FREQUENCIES[norm], half and at == axes[-1]) for at, n in zip(axes, counts, strict=True))


def _analysed(x: TensorType, at: int, modes: int | None, power: float, half: bool) -> Axis:
    samples = x.shape[at]
    need_samples(samples, f"dimension {at} of {x}")
    every = samples // 2 + 1 if half else samples
    kept = every if modes is None else modes if half else 2 * modes
    if not at_most(kept, every):
        lowest = "0 and up" if half else "of either sign"
        raise OpError(f"`modes` is {modes}, which keeps {kept} frequencies, {lowest}, but dimension {at} of {x} has {every}", code="value")
    return Axis(at, samples, kept, half, power)


def synthesised(re: TensorType, dims: Dims, size: Size | Sequence[Size] | None, norm: Norm, *, half: bool) -> tuple[Axis, ...]:
    """The axes of a transform to space of these sizes; by default those of a spectrum that is whole, and with `half` of an even size."""
    axes = axes_of(dims, re)
    sizes = size if isinstance(size, Sequence) else [size] * len(axes)
    if len(sizes) != len(axes):
        raise OpError(f"`size` has {len(sizes)} sizes, but {len(axes)} dimensions are transformed", f"give a list of {len(axes)}", "value")
    return tuple(_synthesised(re, at, n, TO_SPACE[norm], half and at == axes[-1]) for at, n in zip(axes, sizes, strict=True))


def _synthesised(re: TensorType, at: int, size: Size | None, power: float, half: bool) -> Axis:
    given = re.shape[at]
    samples = size if size is not None else 2 * (given - 1) if half else given
    need_samples(samples, f"in space, dimension {at} of {re}")
    if half:
        every = samples // 2 + 1
        return Axis(at, samples, given if at_most(given, every) else every, half, power)
    if not at_most(given, samples):
        raise OpError(f"dimension {at} of {re} has {given} frequencies, more than the {samples} of its size in space", code="value")
    return Axis(at, samples, given, half, power)


def two(dims: list[int]) -> list[int]:
    """Raise unless there are two."""
    if len(dims) != 2:
        raise OpError(f"`dims` is {dims}, but it must name two dimensions", code="value")
    return dims


def need_samples(size: Size, what: str) -> None:
    """Raise unless a size is known to be at least 1."""
    if not at_most(1, size):
        raise OpError(f"{what} has size {size}, but a transform needs at least 1")


def analyse(g: Builder, axes: Sequence[Axis], x: Value, im: Value | None, *, operators: bool = False, in_two: bool = False) -> Pair:
    """The spectrum. The last axis is first, since half a spectrum is half the work for the others.

    `operators` uses DFT where it can, `in_two` two products where that costs less.
    """
    shape, pair = list(x.shape), (x, im)
    for a in reversed(axes):
        if operators and a.whole:
            pair = _forward_operator(g, a, *pair, x.dtype)
        elif in_two and a.large:
            pair = _forward_in_two(g, a, shape, *pair, x.dtype)
        else:
            cos, sin = a.waves().matrices(g, x.dtype, by_frequency=a.at != x.rank - 1)
            pair = _turned(g, a.at, shape, cos, negative(g, sin), pair, x.dtype)
        shape[a.at] = a.kept
    re, im = pair
    assert im is not None
    return re, im


def synthesise(g: Builder, axes: Sequence[Axis], re: Value, im: Value, *, operators: bool = False, in_two: bool = False) -> Pair:
    """The signal, the last axis last. Where that has half a spectrum the signal is real, and stands for both parts."""
    shape, dtype, rank = list(re.shape), re.dtype, re.rank
    for a in axes:
        if shape[a.at] != a.kept:  # as in torch.fft, frequencies that the size cannot hold are dropped
            re, im = (g("Slice", part, g.ints(0), g.size(a.kept), g.ints(a.at)) for part in (re, im))
            shape[a.at] = a.kept
        if operators and (a.whole or a.half):
            re, im = _inverse_operator(g, a, re, im, dtype)
        elif in_two and a.large:
            re, im = _inverse_in_two(g, a, shape, re, im, dtype)
        elif a.half:
            # A frequency stands for its mirror image too, unless it is its own.
            cos, sin = a.waves(factor=2.0, edge=0.5).matrices(g, dtype, by_frequency=a.at == rank - 1)
            re = g("Sub", along(g, a.at, shape, cos, re, dtype), along(g, a.at, shape, sin, im, dtype))
            im = re
        else:
            cos, sin = a.waves().matrices(g, dtype, by_frequency=a.at == rank - 1)
            re, im = _turned(g, a.at, shape, cos, sin, (re, im), dtype)
        shape[a.at] = a.samples
    return re, im


def _turned(g: Builder, at: int, shape: Sequence[Size], cos: Matrix, sin: Matrix, pair: Complex, dtype: str) -> Pair:
    """(re + i im) (cos + i sin) along an axis; the matrices are [new, old], or [old, new] for the last axis."""
    re, im = pair
    if im is None:
        return along(g, at, shape, cos, re, dtype), along(g, at, shape, sin, re, dtype)
    if isinstance(cos, Value) or isinstance(sin, Value) or max(cos.shape) > LARGEST_BLOCK:
        parts = [along(g, at, shape, wave, part, dtype) for wave, part in ((cos, re), (sin, im), (sin, re), (cos, im))]
        return g("Sub", *parts[:2]), g("Add", *parts[2:])
    rows = [[cos, sin], [-sin, cos]] if at == len(shape) - 1 else [[cos, -sin], [sin, cos]]
    longer = [2 * size if i == at else size for i, size in enumerate(shape)]
    y = along(g, at, longer, np.block(rows), g("Concat", re, im, axis=at), dtype)
    new_re, new_im = g("Split", y, outputs=2, axis=at, num_outputs=2)
    return new_re, new_im


def _forward_operator(g: Builder, a: Axis, re: Value, im: Value | None, dtype: str) -> Pair:
    last = g.ints(-1)
    parts = [g("Unsqueeze", part, last) for part in (re, im) if part is not None]
    x = parts[0] if len(parts) == 1 else g("Concat", *parts, axis=-1)
    return _parts(g, g("DFT", x, None, g.constant(a.at, "int64"), onesided=int(a.half)), a, a.power, dtype)


def _inverse_operator(g: Builder, a: Axis, re: Value, im: Value, dtype: str) -> Pair:
    """With `onesided` its result is real, which is PyTorch's and not the standard's."""
    x = g("Concat", g("Unsqueeze", re, g.ints(-1)), g("Unsqueeze", im, g.ints(-1)), axis=-1)
    length = g("Squeeze", g.size(a.samples), g.ints(0))
    y = g("DFT", x, length, g.constant(a.at, "int64"), inverse=1, onesided=int(a.half))
    if not a.half:
        return _parts(g, y, a, a.power + 1, dtype)
    signal = _scaled(g, g("Squeeze", y, g.ints(-1)), a, a.power + 1, dtype)
    return signal, signal


def _forward_in_two(g: Builder, a: Axis, shape: Sequence[Size], re: Value, im: Value | None, dtype: str) -> Pair:
    found = factors(a.samples, a.kept)
    assert found is not None
    return analyse_in_two(g, a.at, shape, found, float(elementary.power(found.a * found.b, a.power)), re, im, dtype)


def _inverse_in_two(g: Builder, a: Axis, shape: Sequence[Size], re: Value, im: Value, dtype: str) -> Pair:
    found = factors(a.samples, a.kept)
    assert found is not None
    samples = found.a * found.b
    mirrored = np.arange(found.kept) * 2 % samples == 0  # a frequency stands for its mirror image too, unless it is its own
    weights = elementary.power(samples, a.power) * (np.where(mirrored, 1.0, 2.0) if a.half else np.ones(found.kept))
    new_re, new_im = synthesise_in_two(g, a.at, shape, found, weights, a.half, (re, im), dtype)
    return new_re, new_re if new_im is None else new_im


def _parts(g: Builder, pairs: Value, a: Axis, power: float, dtype: str) -> Pair:
    re, im = g("Split", _scaled(g, pairs, a, power, dtype), outputs=2, axis=-1, num_outputs=2)
    return g("Squeeze", re, g.ints(-1)), g("Squeeze", im, g.ints(-1))


def _scaled(g: Builder, x: Value, a: Axis, power: float, dtype: str) -> Value:
    return x if power == 0 else g("Mul", x, to_power(g, a.samples, power, dtype))


def _spectrum(x: TensorType, axes: Sequence[Axis]) -> tuple[TensorType, TensorType]:
    kept = {a.at: a.kept for a in axes}
    y = x.with_shape(kept.get(i, size) for i, size in enumerate(x.shape))
    return y, y


def _signal(re: TensorType, axes: Sequence[Axis]) -> TensorType:
    samples = {a.at: a.samples for a in axes}
    return re.with_shape(samples.get(i, size) for i, size in enumerate(re.shape))


def _type(x: Value) -> TensorType:
    return TensorType(x.dtype, x.shape)


def _need_pair(re: TensorType, im: TensorType) -> None:
    need_float(re)
    if re != im:
        raise OpError(f"the real and the imaginary part must have one type, but they are {re} and {im}")
