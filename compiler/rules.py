"""Shape rules that several ops share: axes, slices, provable comparisons of sizes."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import OpError, axis
from lamina.schema.dims import Dim, Size, TensorType, compare, counterexample, undecided

Dims = int | list[int] | None


def axes_of(dims: Dims, x: TensorType) -> tuple[int, ...]:
    """Dims as distinct non-negative axes in the order given; None is all of them."""
    if dims is None:
        return tuple(range(x.rank))
    if dims == []:
        raise OpError("`dims` is an empty list", "name a dimension, or leave `dims` out for all of them")
    axes = tuple(axis(d, x, "dims") for d in ([dims] if isinstance(dims, int) else dims))
    if len(set(axes)) != len(axes):
        raise OpError(f"`dims` is {dims}, which names a dimension of {x} twice")
    return axes


def reduced(x: TensorType, axes: Sequence[int], keepdim: bool) -> tuple[Size, ...]:
    """The shape that is left when axes are reduced."""
    if keepdim:
        return tuple(1 if i in axes else s for i, s in enumerate(x.shape))
    return tuple(s for i, s in enumerate(x.shape) if i not in axes)


def as_scalar(g: Builder, size: Size, dtype: str) -> Value:
    """A size as a scalar of some dtype: a constant, or read from a shape at run time."""
    if not isinstance(size, Dim):
        return g.constant(size, dtype)
    value = g("Squeeze", g.size(size), g.ints(0))
    return value if dtype == "int64" else g("Cast", value, to=ONNX_DTYPE[dtype])


def at_most(a: Size, b: Size) -> bool:
    """Whether a <= b; an error when that depends on the values of dims."""
    decided = compare(a, "<=", b)
    if decided is None:
        names = " and ".join(f"`{s}`" for s in sorted({s for size in (a, b) if isinstance(size, Dim) for s in size.symbols}, key=str))
        raise OpError(undecided(a, "<=", b), f"give {names} a range in `dims` for which it is always true or always false", "dynamic")
    return decided


def same_count(count: Size, wanted: Size, what: str) -> None:
    """Raise unless two numbers of elements are equal for every value of the dims."""
    if count == wanted:
        return
    known = "not" if counterexample(count, wanted) is not None else "not known to be"
    hint = "declare `multiple_of` in `dims` for a size that is divided" if "//" in f"{count}{wanted}" else ""
    raise OpError(f"{what}, because {count} elements are {known} {wanted}", hint)


def bound(index: Size | None, size: Size, default: Size) -> Size:
    """One end of a Python slice of a dimension, as an offset between 0 and `size`."""
    if index is None:
        return default
    if not at_most(0, index):
        index = index + size
        return index if at_most(0, index) else 0
    return index if at_most(index, size) else size


def integers_below(g: Builder, size: Size) -> Value:
    """0, 1, ... size - 1 as int64: a constant, or computed at run time."""
    if not isinstance(size, Dim):
        return g.ints(*range(size))
    return g("Range", g.constant(0, "int64"), as_scalar(g, size, "int64"), g.constant(1, "int64"))


def sizes(shape: Sequence[Size]) -> tuple[Size, ...]:
    """A shape given as an argument; raise unless every size is known not to be negative."""
    for size in shape:
        if not at_most(0, size):
            raise OpError(f"a size is {size}, but it must not be negative")
    return tuple(shape)


def shape_of(g: Builder, x: Value) -> Value:
    """The shape of an input: a constant when it is fixed, else read from the input itself."""
    return g("Shape", x) if any(isinstance(s, Dim) for s in x.shape) else g.shape(x.shape)
