"""Deformable convolution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.compiler.targets.torch.registry import Ints, lowering


@lowering("DeformConv")
def deform_conv(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: Ints = (1, 1),
    group: int = 1,
    kernel_shape: Ints = (),
    offset_group: int = 1,
    pads: Ints = (0, 0, 0, 0),
    strides: Ints = (1, 1),
) -> Tensor:
    """Every tap of the kernel samples the map at its own place, moved by the offset; what it finds is weighted as in a convolution."""
    n, c, h, w = x.shape
    taps = weight.shape[2] * weight.shape[3]
    oh, ow = offset.shape[2:]
    moved = offset.reshape(n * offset_group, taps, 2, oh, ow)
    rows = (
        moved[:, :, 0] + _grid(oh, weight.shape[2], strides[0], dilations[0], pads[0], x).repeat_interleave(weight.shape[3], 0)[..., None]
    )
    columns = moved[:, :, 1] + _grid(ow, weight.shape[3], strides[1], dilations[1], pads[1], x).repeat(weight.shape[2], 1)[:, None]
    places = torch.stack([(2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1], -1).reshape(n * offset_group, taps * oh, ow, 2)
    found = F.grid_sample(x.reshape(n * offset_group, c // offset_group, h, w), places, align_corners=False)
    found = found.reshape(n, offset_group, c // offset_group, taps, oh, ow)
    if mask is not None:
        found = found * mask.reshape(n, offset_group, 1, taps, oh, ow)
    parts = found.reshape(n, group, c // group * taps, oh * ow)
    kernels = weight.reshape(group, weight.shape[0] // group, -1)
    y = torch.einsum("gok,ngkp->ngop", kernels, parts).reshape(n, -1, oh, ow)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _grid(size: int, kernel: int, stride: int, dilation: int, begin: int, like: Tensor) -> Tensor:
    """[kernel, size]: where each tap lies on the axis before it is moved."""
    taps = torch.arange(kernel, device=like.device, dtype=like.dtype) * dilation - begin
    return taps.unsqueeze(1) + torch.arange(size, device=like.device, dtype=like.dtype) * stride
