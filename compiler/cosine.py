"""Cosine transforms of tensors, one axis at a time, as products with matrices of cosines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from lamina.compiler.builder import Builder
from lamina.compiler.fourier import TO_FREQUENCIES, TO_SPACE, Norm, need_samples
from lamina.compiler.graph import Value
from lamina.compiler.op import OpError, need_float
from lamina.compiler.rules import at_most, axes_of
from lamina.compiler.waves import Integers, Matrix, Waves, along
from lamina.schema.dims import Size, TensorType

Kind = Literal[2, 3]
Each = tuple[tuple[int, ...], Sequence[Size | None]]


@dataclass(frozen=True, slots=True)
class CosineAxis:
    """One axis of size n of a transform of type 2 or 3, from `given` to `wanted` elements. The result is multiplied by (2 n) ** power."""

    at: int
    n: Size
    given: Size
    wanted: Size
    kind: Kind
    power: float

    def matrix(self, g: Builder, dtype: str, *, last: bool) -> Matrix:
        """[wanted, given], or [given, wanted] for the last axis."""
        count, places = (self.wanted, self.given) if self.kind == 2 else (self.given, self.wanted)
        edge = sqrt(0.5) if self.power == -0.5 else 1.0 if self.kind == 2 else 0.5
        waves = Waves((Integers(count),), Integers(places, 1, 2), 4 * self.n, 2 * self.n, self.power, factor=2.0, edge=edge)
        return waves.matrices(g, dtype, by_frequency=(self.kind == 2) != last)[0]


def forward(x: TensorType, dims: int | list[int], kind: Kind, modes: int | list[int] | None, norm: Norm) -> tuple[CosineAxis, ...]:
    """The axes of a transform that keeps the first `modes` elements of each."""
    axes, kept = _each(x, dims, modes, "modes")
    found = []
    for at, wanted in zip(axes, kept, strict=True):
        n = x.shape[at]
        need_samples(n, f"dimension {at} of {x}")
        if wanted is not None and not at_most(wanted, n):
            raise OpError(f"`modes` is {modes}, but dimension {at} of {x} has {n} frequencies", code="value")
        found.append(CosineAxis(at, n, n, n if wanted is None else wanted, kind, TO_FREQUENCIES[norm]))
    return tuple(found)


def inverse(x: TensorType, dims: int | list[int], kind: Kind, size: Size | Sequence[Size] | None, norm: Norm) -> tuple[CosineAxis, ...]:
    """The axes of the inverse, to these sizes: elements that x lacks are zero."""
    axes, sizes = _each(x, dims, size, "size")
    found = []
    for at, wanted in zip(axes, sizes, strict=True):
        given = x.shape[at]
        n = given if wanted is None else wanted
        need_samples(n, f"dimension {at} of {x}, transformed,")
        if not at_most(given, n):
            raise OpError(f"dimension {at} of {x} has {given} frequencies, more than the {n} of its `size`", code="value")
        found.append(CosineAxis(at, n, given, n, 3 if kind == 2 else 2, TO_SPACE[norm]))
    return tuple(found)


def _each(x: TensorType, dims: int | list[int], values: Size | Sequence[Size] | None, what: str) -> Each:
    need_float(x)
    axes = axes_of(dims, x)
    each: Sequence[Size | None] = values if isinstance(values, Sequence) else [values] * len(axes)
    if len(each) != len(axes):
        raise OpError(f"`{what}` has {len(each)} numbers for {len(axes)} dimensions", f"give a list of {len(axes)}", "value")
    return axes, each


def transformed(x: TensorType, axes: Sequence[CosineAxis]) -> TensorType:
    """The type that comes out."""
    wanted = {a.at: a.wanted for a in axes}
    return x.with_shape(wanted.get(i, size) for i, size in enumerate(x.shape))


def transform(g: Builder, axes: Sequence[CosineAxis], x: Value) -> Value:
    """x along every axis."""
    shape, dtype, y = list(x.shape), x.dtype, x
    for a in axes:
        y = along(g, a.at, shape, a.matrix(g, dtype, last=a.at == len(shape) - 1), y, dtype)
        shape[a.at] = a.wanted
    return y
