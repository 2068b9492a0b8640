"""Conversion between dtypes."""

from __future__ import annotations

from torch import Tensor

from lamina.compiler.targets.torch.arrays import torch_dtype
from lamina.compiler.targets.torch.registry import lowering


@lowering("Cast")
def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """`saturate` and `round_mode` concern 8-bit floats only, which graphs do not hold."""
    return x.to(torch_dtype(to))


@lowering("CastLike")
def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return x.to(like.dtype)


@lowering("BitCast")
def bit_cast(x: Tensor, *, to: int) -> Tensor:
    return x.view(torch_dtype(to))
