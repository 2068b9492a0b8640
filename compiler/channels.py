"""Weights with one number per channel: what normalisations and scales share."""

from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Weight, need_fixed
from lamina.schema.dims import TensorType


def channels(x: TensorType, axis: int = 1) -> int:
    """The number of channels, which must be fixed."""
    return need_fixed(x.shape[axis], f"the number of channels, dim {axis} of {x},")


def scale_and_shift(x: TensorType, shape: tuple[int, ...], *, bias: bool = True) -> dict[str, Weight]:
    """`weight` of ones, and `bias` of zeros unless it is off."""
    weights = {"weight": Weight(TensorType(x.dtype, shape), "ones")}
    return weights | ({"bias": Weight(TensorType(x.dtype, shape), "zeros")} if bias else {})


def along(g: Builder, weight: Value, axis: int, rank: int) -> Value:
    """A weight `[C]`, shaped to broadcast along that axis of a tensor of that rank."""
    return weight if axis == rank - 1 else g("Reshape", weight, g.ints(-1, *(1,) * (rank - 1 - axis)))


def ones(g: Builder, x: Value, count: int) -> Value:
    """A constant scale that changes nothing."""
    return g.constant([1.0] * count, x.dtype)


def zeros(g: Builder, x: Value, count: int) -> Value:
    """A constant shift that changes nothing."""
    return g.constant([0.0] * count, x.dtype)
