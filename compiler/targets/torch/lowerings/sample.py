"""Sampling at computed places."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.compiler.targets.torch.registry import Ints, lowering

_MODES = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic", "bilinear": "bilinear", "bicubic": "bicubic"}


@lowering("GridSample")
def grid_sample(x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros") -> Tensor:
    return F.grid_sample(x, grid, _MODES[mode], padding_mode, bool(align_corners))


@lowering("AffineGrid")
def affine_grid(theta: Tensor, size: Ints, *, align_corners: int = 0) -> Tensor:
    return F.affine_grid(theta, list(size), bool(align_corners))


@lowering("Col2Im")
def col2im(x: Tensor, image: Ints, block: Ints, *, dilations: Ints = (), pads: Ints = (), strides: Ints = ()) -> Tensor:
    """Blocks [N, C * prod(block), L] are added where they came from: a scatter over any number of spatial axes."""
    n = len(image)
    stride, dilation, around = strides or (1,) * n, dilations or (1,) * n, pads or (0,) * (2 * n)
    padded = [i + around[d] + around[n + d] for d, i in enumerate(image)]
    flat = torch.zeros(1, 1, dtype=torch.int64, device=x.device)
    for i in range(n):
        count = (padded[i] - (block[i] - 1) * dilation[i] - 1) // stride[i] + 1
        taps = torch.arange(block[i], device=x.device) * dilation[i]
        starts = torch.arange(count, device=x.device) * stride[i]
        places = taps.unsqueeze(1) + starts
        flat = (flat[:, None, :, None] * padded[i] + places[None, :, None, :]).flatten(2, 3).flatten(0, 1)
    channels = x.shape[1] // flat.shape[0]
    values = x.reshape(x.shape[0], channels, -1)
    total = x.new_zeros(x.shape[0], channels, math.prod(padded)).index_add(2, flat.reshape(-1), values)
    whole = total.reshape(x.shape[0], channels, *padded)
    for d in range(n):
        whole = whole.narrow(2 + d, around[d], image[d])
    return whole
