"""What reductions share: the arguments `dims` and `keepdim`, their shape rule, and the variance."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import NUMBERS, ORDERED, need_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Op, OpError
from lamina.compiler.rules import Dims, as_scalar, at_most, axes_of, reduced
from lamina.schema.dims import Size, TensorType, product


class Reduction(Op):
    """y = f over `dims` (all of them when None); `keepdim` leaves each as 1."""

    dtypes: ClassVar[tuple[str, ...]] = NUMBERS
    dims: Dims = None
    keepdim: bool = False

    def infer(self, x: TensorType) -> TensorType:
        need_dtype(x, self.dtypes)
        return x.with_shape(reduced(x, axes_of(self.dims, x), self.keepdim))

    @abstractmethod
    def define(self, g: Builder, x: Value) -> Value: ...

    def reduce(self, g: Builder, operator: str, x: Value, like: Value | None = None) -> Value:
        """One of ONNX's Reduce operators on `x`, which has the shape of `like`."""
        like = like or x
        if not like.rank:  # a scalar has no axis, and TensorRT wants one
            return g(operator, g("Reshape", x, g.ints(1)), g.ints(0), keepdims=0)
        return g(operator, x, axes_input(g, self.dims, like), keepdims=int(self.keepdim))


class ArgReduction(Op):
    """y = an index along `dim`, int64; into the flattened x when `dim` is None."""

    dim: int | None = None
    keepdim: bool = False

    def infer(self, x: TensorType) -> TensorType:
        need_dtype(x, ORDERED)
        axes = axes_of(self.dim, x)
        return TensorType("int64", reduced(x, axes, self.keepdim))

    @abstractmethod
    def define(self, g: Builder, x: Value) -> Value: ...

    def search(self, g: Builder, operator: str, x: Value) -> Value:
        """ArgMax or ArgMin."""
        if self.dim is not None and x.rank > 1:
            return g(operator, x, axis=self.dim, keepdims=int(self.keepdim))
        # One row rather than one dimension: TensorRT searches nothing less.
        index = g(operator, g("Reshape", x, g.ints(1, -1)), axis=1, keepdims=0)
        return g("Reshape", index, g.ints(*[1] * x.rank if self.keepdim else []))


def axes_input(g: Builder, dims: Dims, x: Value) -> Value:
    """The axes to reduce, as the second input of a Reduce operator."""
    return g.ints(*sorted(axes_of(dims, type_of(x))))


def type_of(x: Value) -> TensorType:
    return TensorType(x.dtype, x.shape)


def spread(x: TensorType, dims: Dims, correction: int) -> Size:
    """What the sum of squared deviations is divided by; raises unless it is positive."""
    count = product(x.shape[i] for i in axes_of(dims, x))
    if not at_most(1, count - correction):
        raise OpError(
            f"{count} elements and a correction of {correction} leave no degree of freedom", "use correction 0, or reduce more dimensions"
        )
    return count - correction


def variance(g: Builder, x: Value, dims: Dims, keepdim: bool, correction: int) -> Value:
    """The variance of x over `dims`, two passes as in PyTorch."""
    axes = axes_input(g, dims, x)
    deviation = g("Sub", x, g("ReduceMean", x, axes, keepdims=1))
    square = g("Mul", deviation, deviation)
    if correction == 0:
        return g("ReduceMean", square, axes, keepdims=int(keepdim))
    total = g("ReduceSum", square, axes, keepdims=int(keepdim))
    return g("Div", total, as_scalar(g, spread(type_of(x), dims, correction), x.dtype))
