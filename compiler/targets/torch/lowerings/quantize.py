"""Linear quantisation to and from 8-bit (and 16-bit) integers: per tensor, per axis or per block."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.compiler.targets.torch.arrays import torch_dtype
from lamina.compiler.targets.torch.registry import lowering


def _spread(parameter: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """A scale or zero point in a shape that broadcasts against `x`."""
    if parameter.dim() == 0 or parameter.numel() == 1:
        return parameter.reshape(())
    if parameter.dim() == 1:
        return parameter.reshape([-1 if d == axis % x.dim() else 1 for d in range(x.dim())])
    return parameter.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])


@lowering("QuantizeLinear")
def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    dtype = torch_dtype(output_dtype) if output_dtype else torch.uint8 if zero is None else zero.dtype
    wide = torch_dtype(precision) if precision else scale.dtype
    steps = torch.round(x.to(wide) / _spread(scale, x, axis, block_size).to(wide))
    if zero is not None:
        steps = steps + _spread(zero, x, axis, block_size)
    info = torch.iinfo(dtype)
    return steps.clamp(info.min, info.max).to(dtype)


@lowering("DequantizeLinear")
def dequantize_linear(
    x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Tensor:
    dtype = torch_dtype(output_dtype) if output_dtype else scale.dtype
    steps = x.to(dtype) if zero is None else x.to(dtype) - _spread(zero, x, axis, block_size).to(dtype)
    return steps * _spread(scale, x, axis, block_size).to(dtype)


@lowering("DynamicQuantizeLinear")
def dynamic_quantize_linear(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 over the range of the values, which always holds 0."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.round(-low / scale).clamp(0, 255).to(torch.uint8)
    return (torch.round(x / scale) + zero).clamp(0, 255).to(torch.uint8), scale, zero
