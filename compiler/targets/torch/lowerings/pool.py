"""Pooling over windows and over whole maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.compiler.targets.torch.lowerings.spatial import pad, resolve_pads, symmetric
from lamina.compiler.targets.torch.registry import Ints, lowering

_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX: dict[int, Any] = {2: F.max_pool2d, 3: F.max_pool3d}
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _overhang(x: Tensor, pads: Sequence[int], kernel: Ints, stride: Ints, dilation: Ints, ceil_mode: int) -> list[int]:
    """How far the last window of each axis reaches beyond the padded end. A window must start inside the input or its left pad."""
    n = len(kernel)
    if not ceil_mode:
        return [0] * n
    beyond = []
    for size, before, after, k, s, d in zip(x.shape[2:], pads[:n], pads[n:], kernel, stride, dilation, strict=True):
        whole, span = before + size + after, (k - 1) * d + 1
        last = (whole - span + s - 1) // s * s
        # A window wider than its stride and the pad starts inside whatever the size, so that an exported one is not compared.
        inside = span >= s + after or last < before + size
        beyond.append(last + span - whole if inside else max(last - s + span - whole, 0))
    return beyond


def _window_sum(x: Tensor, kernel: Ints, stride: Ints, dilation: Ints) -> Tensor:
    """Sums over windows, as a convolution of each channel by itself with ones."""
    flat = x.flatten(0, 1).unsqueeze(1)
    sums = _CONV[len(kernel)](flat, x.new_ones((1, 1, *kernel)), None, stride, 0, dilation)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def _fits(pads: Sequence[int], kernel: Ints) -> bool:
    """Whether PyTorch's own padding does: as wide on both sides of an axis, and half a window at most."""
    return symmetric(pads) and all(2 * p <= k for p, k in zip(pads[: len(kernel)], kernel, strict=True))


def _held(x: Tensor, kernel: Ints) -> bool:
    """Whether x is as large as a window without its padding, which PyTorch wants of three dims; no exported size is known to be."""
    return all(isinstance(size, int) and size >= k for size, k in zip(x.shape[2:], kernel, strict=True))


@lowering("AveragePool")
def average_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Tensor:
    n = len(kernel_shape)
    stride, dilation = strides or (1,) * n, dilations or (1,) * n
    around = resolve_pads(x, auto_pad, pads, kernel_shape, stride, dilation)
    fits = _fits(around, kernel_shape) and (n < 3 or _held(x, kernel_shape))
    if fits and set(dilation) == {1}:
        return _AVERAGE[n](x, kernel_shape, stride, around[:n], bool(ceil_mode), bool(count_include_pad))
    beyond = [0] * n + _overhang(x, around, kernel_shape, stride, dilation, ceil_mode)
    counted = pad(torch.ones_like(x[:1, :1]), around, 1.0 if count_include_pad else 0.0)
    counts = _window_sum(pad(counted, beyond), kernel_shape, stride, dilation)
    return _window_sum(pad(pad(x, around), beyond), kernel_shape, stride, dilation) / counts


@lowering("LpPool")
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = (),
    p: int = 2,
    pads: Ints = (),
    strides: Ints = (),
) -> Tensor:
    n = len(kernel_shape)
    stride, dilation = strides or (1,) * n, dilations or (1,) * n
    around = resolve_pads(x, auto_pad, pads, kernel_shape, stride, dilation)
    beyond = [0] * n + _overhang(x, around, kernel_shape, stride, dilation, ceil_mode)
    powers = pad(pad(x.abs() ** p, around), beyond)
    return _window_sum(powers, kernel_shape, stride, dilation) ** (1.0 / p)


@lowering("MaxPool")
def max_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = (),
    pads: Ints = (),
    storage_order: int = 0,
    strides: Ints = (),
    outputs: int = 1,
) -> tuple[Tensor, ...]:
    n = len(kernel_shape)
    stride, dilation = strides or (1,) * n, dilations or (1,) * n
    around = resolve_pads(x, auto_pad, pads, kernel_shape, stride, dilation)
    fits = _fits(around, kernel_shape) and not ceil_mode
    floats = x if x.is_floating_point() else x.to(torch.float32)
    beyond = [0] * n + _overhang(x, around, kernel_shape, stride, dilation, ceil_mode)
    padded, inner = (floats, around[:n]) if fits else (pad(pad(floats, around, float("-inf")), beyond, float("-inf")), [0] * n)
    if outputs == 1:
        return (_windows(padded, kernel_shape, stride, inner, dilation, False).to(x.dtype),)
    values, indices = _windows(padded, kernel_shape, stride, inner, dilation, True)
    return values.to(x.dtype), _flat_indices(indices, x, padded, [0] * n if fits else around[:n], storage_order)


def _windows(x: Tensor, kernel: Ints, stride: Ints, pads: Sequence[int], dilation: Ints, with_indices: bool) -> Any:
    """The largest of each window. Over one axis as over two: PyTorch's `max_pool1d` exports for one size only."""
    if len(kernel) > 1:
        return _MAX[len(kernel)](x, kernel, stride, pads, dilation, return_indices=with_indices)
    found = _MAX[2](x.unsqueeze(2), (1, *kernel), (1, *stride), (0, *pads), (1, *dilation), return_indices=with_indices)
    return tuple(part.squeeze(2) for part in found) if with_indices else found.squeeze(2)


def _flat_indices(indices: Tensor, x: Tensor, padded: Tensor, begins: Sequence[int], column_major: int) -> Tensor:
    """PyTorch counts within one padded map, ONNX within the whole unpadded tensor."""
    places, rest = [], indices
    for size, begin in reversed(list(zip(padded.shape[2:], begins, strict=True))):
        places.append(rest % size - begin)
        rest = rest // size
    sizes = list(x.shape[2:])
    ordered = list(zip(reversed(places), sizes, strict=True))
    flat = torch.zeros_like(indices)
    for place, size in reversed(ordered) if column_major else ordered:
        flat = flat * size + place
    maps = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(x.shape[0], x.shape[1], *(1,) * len(sizes))
    return flat + maps * x[0, 0].numel()


@lowering("MaxUnpool")
def max_unpool(x: Tensor, indices: Tensor, shape: Ints | None = None, *, kernel_shape: Ints, pads: Ints = (), strides: Ints = ()) -> Tensor:
    """Indices count within the tensor that was pooled; a larger `shape` keeps each value's place in its map."""
    n = len(kernel_shape)
    stride, around = strides or (1,) * n, pads or (0,) * (2 * n)
    rows = zip(x.shape[2:], stride, kernel_shape, around[:n], around[n:], strict=True)
    pooled = [*x.shape[:2], *((size - 1) * s + k - a - b for size, s, k, a, b in rows)]
    whole = x.new_zeros(pooled).reshape(-1).scatter(0, indices.reshape(-1), x.reshape(-1)).reshape(pooled)
    return whole if shape is None else pad(whole, [0] * (n + 2) + [a - b for a, b in zip(shape, pooled, strict=True)])


@lowering("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


@lowering("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


@lowering("GlobalLpPool")
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    return (x.abs() ** p).sum(tuple(range(2, x.dim())), keepdim=True) ** (1.0 / p)
