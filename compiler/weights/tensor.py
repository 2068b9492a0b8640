"""Tensors that are not there yet: name, dtype and shape now, numbers when they are written, a piece at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, final

import numpy as np

from lamina.compiler import elementary
from lamina.compiler.graph import Parameter, Value
from lamina.compiler.numeric import numpy_dtype
from lamina.schema.diagnostics import Diagnostic, Span, SpecError
from lamina.schema.dims import FLOATS

Array = np.ndarray[Any, np.dtype[Any]]
PIECE = 1 << 20  # bytes: small enough that making, hashing and writing a piece all happen in a core's cache
_COLUMNS = 64
MAPS: Mapping[str, Callable[[Array], Array]] = {"log": elementary.log, "exp": elementary.exp}
AnyTensor = TypeVar("AnyTensor", bound="Tensor")


@dataclass(frozen=True, slots=True, eq=False)
class Tensor(ABC):
    """A lazy array. `dtype` is one of the language's dtype names."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * numpy_dtype(self.dtype).itemsize

    @abstractmethod
    def numpy(self) -> Array:
        """The whole array, of this dtype and shape. It may be a read-only view, and need not be contiguous."""

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        """The elements in row-major order as contiguous one-dimensional pieces of at most `max_bytes` (but at least one element)."""
        return pieces(self.numpy(), max_bytes)

    def permuted(self, axes: tuple[int, ...]) -> Tensor:
        """The tensor with its axes permuted; `axes` must be a permutation of them."""
        return Transposed(self.name, self.dtype, tuple(self.shape[a] for a in axes), self, axes)

    def viewed(self, shape: tuple[int, ...]) -> Tensor:
        """The tensor in another shape, which must hold as many elements."""
        return Reshaped(self.name, self.dtype, shape, self)

    def part(self, axis: int, start: int, stop: int) -> Tensor:
        """The tensor from `start` to `stop` along an axis; both must lie inside it."""
        shape = (*self.shape[:axis], stop - start, *self.shape[axis + 1 :])
        return Sliced(self.name, self.dtype, shape, self, axis, start)


class Weights(Protocol):
    """Where the numbers of a model's parameters come from."""

    def get(self, parameter: Parameter) -> Tensor:
        """The parameter's tensor: its name, dtype and shape."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class ArrayTensor(Tensor):
    """A tensor that is already in memory."""

    array: Array

    def numpy(self) -> Array:
        return self.array


@final
@dataclass(frozen=True, slots=True, eq=False)
class FileTensor(Tensor):
    """Little-endian elements that stand in a file from `offset` on. Mapped only while it is read, so that memory is given back."""

    path: Path
    offset: int

    def numpy(self) -> Array:
        if not self.size:
            return np.empty(self.shape, numpy_dtype(self.dtype))
        mapped = np.memmap(self.path, np.uint8, "r", self.offset, (self.nbytes,))
        return mapped.view(np.ndarray).view(numpy_dtype(self.dtype)).reshape(self.shape)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Transposed(Tensor):
    """The source with its axes permuted. Pieces are gathered from a view, so a mapped file is never copied whole."""

    source: Tensor
    axes: tuple[int, ...]

    def numpy(self) -> Array:
        return self.source.numpy().transpose(self.axes)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reshaped(Tensor):
    """The source's elements, in the same order, in another shape."""

    source: Tensor

    def numpy(self) -> Array:
        return self.source.numpy().reshape(self.shape)

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        return self.source.chunks(max_bytes)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sliced(Tensor):
    """The part of the source from `start` on along an axis."""

    source: Tensor
    axis: int
    start: int

    def numpy(self) -> Array:
        part = slice(self.start, self.start + self.shape[self.axis])
        return self.source.numpy()[(slice(None),) * self.axis + (part,)]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mapped(Tensor):
    """A function of each element of the source, of the same dtype. Raises SpecError where a finite number has no finite value."""

    source: Tensor
    function: Callable[[Array], Array]  # of float64
    what: str

    def numpy(self) -> Array:
        return self._apply(self.source.numpy())

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        return map(self._apply, self.source.chunks(max_bytes))

    def _apply(self, array: Array) -> Array:
        with np.errstate(all="ignore"):
            found = self.function(array.astype(np.float64)).astype(array.dtype)
        if (np.isfinite(array.astype(np.float64)) & ~np.isfinite(found.astype(np.float64))).any():
            message = f"the weight `{self.name}` has numbers whose {self.what} is not finite"
            raise SpecError([Diagnostic("weights", message, Span(self.name, 1, 1), "see what its rule under `weights:` is for")])
        return found


@final
@dataclass(frozen=True, slots=True, eq=False)
class Joined(Tensor):
    """The sources one after the other along an axis. Along the first, each is read in its own pieces."""

    sources: tuple[Tensor, ...]
    axis: int

    def numpy(self) -> Array:
        return np.concatenate([source.numpy() for source in self.sources], axis=self.axis)

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        if self.axis:
            return pieces(self.numpy(), max_bytes)
        return (piece for source in self.sources for piece in source.chunks(max_bytes))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cast(Tensor):
    """The source in another dtype. Raises SpecError when a finite number would become infinite."""

    source: Tensor

    def numpy(self) -> Array:
        return self._convert(self.source.numpy())

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        widest = max(numpy_dtype(self.dtype).itemsize, numpy_dtype(self.source.dtype).itemsize)
        narrow = max_bytes * numpy_dtype(self.source.dtype).itemsize // widest
        return (self._convert(piece) for piece in self.source.chunks(narrow))

    def _convert(self, array: Array) -> Array:
        try:
            with np.errstate(over="raise"):
                return array.astype(numpy_dtype(self.dtype))
        except FloatingPointError as error:
            message = f"the weight `{self.name}` has numbers too large for {self.dtype} (it is {self.source.dtype} in its file)"
            raise SpecError([Diagnostic("weights", message, Span(self.name, 1, 1), "use bfloat16 or float32")]) from error


def fixed_shape(value: Value) -> tuple[int, ...]:
    """The shape of a value that cannot be dynamic. Raises TypeError when it is."""
    sizes = tuple(s for s in value.shape if isinstance(s, int))
    if len(sizes) != value.rank:
        raise TypeError(f"{value.name} is a weight of dynamic shape {value.type}")
    return sizes


def cast(source: Tensor, dtype: str) -> Tensor:
    """The tensor in another dtype."""
    return source if source.dtype == dtype else Cast(source.name, dtype, source.shape, source)


def transposed(source: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The tensor with its axes permuted. Raises ValueError when `axes` is not a permutation of them."""
    if sorted(axes) != list(range(len(source.shape))):
        raise ValueError(f"{list(axes)} is not a permutation of the axes of a tensor with {len(source.shape)} dimensions")
    return source.permuted(axes)


def reshaped(source: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor in another shape: 0 keeps the size in its place, and one -1 is what remains. Raises ValueError when it does not fit."""
    shape = tuple(source.shape[i] if s == 0 and i < len(source.shape) else s for i, s in enumerate(shape))
    known = math.prod(s for s in shape if s != -1)
    if -1 in shape and known and source.size % known == 0:
        shape = tuple(source.size // known if s == -1 else s for s in shape)
    if any(s < 0 for s in shape) or math.prod(shape) != source.size:
        raise ValueError(f"{source.size} elements of shape {list(source.shape)} do not fit shape {list(shape)}")
    return source.viewed(shape)


def mapped(source: Tensor, function: str) -> Tensor:
    """A function of `MAPS` of each element. Raises ValueError for a tensor of integers."""
    if source.dtype not in FLOATS:
        raise ValueError(f"{source.dtype} has no {function}")
    return Mapped(source.name, source.dtype, source.shape, source, MAPS[function], function)


def scaled(source: Tensor, factor: float) -> Tensor:
    """Each element times a factor. Raises ValueError for a tensor of integers."""
    if source.dtype not in FLOATS:
        raise ValueError(f"{source.dtype} is not scaled")
    return Mapped(source.name, source.dtype, source.shape, source, lambda array: array * factor, f"product with {factor:g}")


def joined(sources: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors of one dtype, one after the other along an axis. Raises ValueError when they do not fit."""
    first = sources[0]
    if axis >= len(first.shape):
        raise ValueError(f"they have no dim {axis}: `{first.name}` is of shape {list(first.shape)}")
    shape = (*first.shape[:axis], sum(s.shape[axis] for s in sources if len(s.shape) > axis), *first.shape[axis + 1 :])
    for source in sources:
        if source.dtype != first.dtype or source.shape[:axis] + source.shape[axis + 1 :] != shape[:axis] + shape[axis + 1 :]:
            kinds = " and ".join(f"`{s.name}` {s.dtype}{list(s.shape)}" for s in (first, source))
            raise ValueError(f"{kinds} differ in more than dim {axis}")
    return Joined(first.name, first.dtype, shape, tuple(sources), axis)


def sliced(source: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """The tensor from `start` to `stop` along an axis; both must lie inside it."""
    return source.part(axis, start, stop)


def renamed(tensor: AnyTensor, name: str) -> AnyTensor:
    """The same tensor under another name."""
    return replace(tensor, name=name)


def _gathered(view: Array) -> Array:
    """A view as one contiguous run. A transposed matrix goes by blocks of columns: a cache line is read once, 3 times as fast."""
    if view.ndim != 2 or view.strides[0] > view.strides[1]:
        return np.ascontiguousarray(view).reshape(-1)
    out = np.empty(view.shape, view.dtype)
    for start in range(0, view.shape[1], _COLUMNS):
        out[:, start : start + _COLUMNS] = view[:, start : start + _COLUMNS]
    return out.reshape(-1)


def pieces(array: Array, max_bytes: int) -> Iterator[Array]:
    """An array's elements in row-major order as contiguous one-dimensional pieces of at most `max_bytes` (but at least one element)."""
    if array.flags.c_contiguous:
        flat, step = array.reshape(-1), max(1, max_bytes // array.itemsize)
        yield from (flat[i : i + step] for i in range(0, flat.size, step))
        return
    rows = max_bytes // max(1, array.nbytes // array.shape[0])
    if rows:
        yield from (_gathered(array[i : i + rows]) for i in range(0, array.shape[0], rows))
        return
    for row in array:
        yield from pieces(row, max_bytes)
