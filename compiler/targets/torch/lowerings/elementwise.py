"""Arithmetic, rounding, exponentials and trigonometry, element by element."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from lamina.compiler.targets.torch.registry import Scalar, direct, lowering

direct(
    {
        "Abs": torch.abs,
        "Acos": torch.acos,
        "Acosh": torch.acosh,
        "Asin": torch.asin,
        "Asinh": torch.asinh,
        "Atan": torch.atan,
        "Atanh": torch.atanh,
        "Ceil": torch.ceil,
        "Cos": torch.cos,
        "Cosh": torch.cosh,
        "Det": torch.det,
        "Erf": torch.erf,
        "Exp": torch.exp,
        "Floor": torch.floor,
        "IsNaN": torch.isnan,
        "Log": torch.log,
        "Neg": torch.neg,
        "Reciprocal": torch.reciprocal,
        "Round": torch.round,
        "Sign": torch.sign,
        "Sin": torch.sin,
        "Sinh": torch.sinh,
        "Sqrt": torch.sqrt,
        "Tan": torch.tan,
    }
)
direct({"Add": torch.add, "Mul": torch.mul, "Sub": torch.sub}, inputs=2)


@lowering("Identity")
def identity(x: Tensor) -> Tensor:
    return x


@lowering("Div")
def div(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@lowering("Pow")
def pow_(x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x, y).to(x.dtype)


@lowering("Mod")
def mod(x: Tensor, y: Tensor, *, fmod: int = 0) -> Tensor:
    return torch.fmod(x, y) if fmod else torch.remainder(x, y)


@lowering("Max")
def maximum(*xs: Tensor) -> Tensor:
    return reduce(torch.maximum, xs)


@lowering("Min")
def minimum(*xs: Tensor) -> Tensor:
    return reduce(torch.minimum, xs)


@lowering("Sum")
def total(*xs: Tensor) -> Tensor:
    return reduce(torch.add, xs)


@lowering("Mean")
def mean(*xs: Tensor) -> Tensor:
    return reduce(torch.add, xs) / len(xs)


@lowering("Clip")
def clip(x: Tensor, low: Scalar | None = None, high: Scalar | None = None) -> Tensor:
    if low is not None:
        x = torch.maximum(x, low) if isinstance(low, Tensor) else torch.clamp(x, min=low)
    if high is not None:
        x = torch.minimum(x, high) if isinstance(high, Tensor) else torch.clamp(x, max=high)
    return x


@lowering("IsInf")
def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    return (torch.isposinf(x) & bool(detect_positive)) | (torch.isneginf(x) & bool(detect_negative))
