"""Shape rules that elementwise ops share."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Op, OpError, broadcast
from lamina.schema.dims import DTYPES, FLOATS, INTEGERS, TensorType

NUMBERS = (*FLOATS, *INTEGERS)
BOOL = ("bool",)
# Narrow integers are for storage: standard operators and runtimes compute with few of them.
SIGNED = tuple(d for d in NUMBERS if d != "uint8")
ORDERED = tuple(d for d in NUMBERS if d != "int16")
WIDE = (*FLOATS, "int64", "int32")
KINDS = {
    FLOATS: "floating point",
    INTEGERS: "an integer",
    NUMBERS: "a number",
    BOOL: "bool",
    SIGNED: "a number with a sign",
    ORDERED: "a number of another dtype than int16",
    WIDE: "floating point, int64 or int32",
    (*WIDE, *BOOL): "floating point, int64, int32 or bool",
    (*ORDERED, *BOOL): "of another dtype than int16",
}


def need_dtype(x: TensorType, dtypes: tuple[str, ...], what: str = "the input") -> None:
    """Raise unless the dtype of `x` is one of these."""
    if x.dtype in dtypes:
        return
    kind = KINDS.get(dtypes, " or ".join(dtypes))
    preferred = ("int32", "float32") if x.dtype in INTEGERS else ("float32", "int64")
    example = next((d for d in preferred if d in dtypes), dtypes[0])
    raise OpError(f"{what} must be {kind}, but it is {x}", f"convert it with cast(x, '{example}')", "dtype")


def need_held(value: float, dtype: str, what: str, hint: str = "") -> None:
    """Raise unless a tensor of this dtype can hold this number."""
    if dtype in (*FLOATS, *BOOL):
        return
    bounds = np.iinfo(dtype)
    if not (bounds.min <= value <= bounds.max and value == int(value)):
        raise OpError(f"`{what}` is {value}, which {dtype} cannot hold", hint, "dtype")


def same_dtype(*inputs: TensorType) -> str:
    """The dtype that all inputs share; raise when they differ."""
    first = inputs[0]
    for other in inputs[1:]:
        if other.dtype != first.dtype:
            raise OpError(f"dtypes differ: {first} against {other}", f"convert one of them, as in cast(y, '{first.dtype}')", "dtype")
    return first.dtype


class Unary(Op):
    """y = f(x), elementwise: the shape and dtype stay."""

    dtypes: ClassVar[tuple[str, ...]] = FLOATS

    def infer(self, x: TensorType) -> TensorType:
        need_dtype(x, self.dtypes)
        return x

    @abstractmethod
    def define(self, g: Builder, x: Value) -> Value: ...


class Binary(Op):
    """z = f(x, y), elementwise: dtypes must be the same, shapes broadcast as in NumPy."""

    dtypes: ClassVar[tuple[str, ...]] = NUMBERS

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        need_dtype(x, self.dtypes)
        return TensorType(same_dtype(x, y), broadcast(x, y))

    @abstractmethod
    def define(self, g: Builder, x: Value, y: Value) -> Value: ...


class Comparison(Op):
    """z = x ? y, elementwise: dtypes must be the same, shapes broadcast, the result is bool."""

    dtypes: ClassVar[tuple[str, ...]] = DTYPES

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        need_dtype(x, self.dtypes)
        same_dtype(x, y)
        return TensorType("bool", broadcast(x, y))

    @abstractmethod
    def define(self, g: Builder, x: Value, y: Value) -> Value: ...
