"""Convolutions over one, two or three spatial axes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lamina.compiler.targets.torch.lowerings.spatial import pad, resolve_pads, symmetric
from lamina.compiler.targets.torch.registry import Ints, lowering

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@lowering("Conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    kernel_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Tensor:
    n = weight.dim() - 2
    stride, dilation = strides or (1,) * n, dilations or (1,) * n
    around = resolve_pads(x, auto_pad, pads, weight.shape[2:], stride, dilation)
    if symmetric(around):
        return _CONV[n](x, weight, bias, stride, around[:n], dilation, group)
    return _CONV[n](pad(x, around), weight, bias, stride, 0, dilation, group)


@lowering("ConvTranspose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    kernel_shape: Ints = (),
    output_padding: Ints = (),
    output_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Tensor:
    """The whole product is computed, then cropped: PyTorch's own padding is symmetric and its output_padding limited."""
    n = weight.dim() - 2
    stride, dilation, extra = strides or (1,) * n, dilations or (1,) * n, output_padding or (0,) * n
    whole = _TRANSPOSE[n](x, weight, None, stride, 0, 0, group, dilation)
    full = [size + e for size, e in zip(whole.shape[2:], extra, strict=True)]
    if not output_shape and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        output_shape = tuple(size * s for size, s in zip(x.shape[2:], stride, strict=True))
    crop = _crop(full, output_shape, auto_pad) if output_shape else list(pads or (0,) * (2 * n))
    whole = pad(whole, [-c for c in crop[:n]] + [e - c for e, c in zip(extra, crop[n:], strict=True)])
    return whole if bias is None else whole + bias.reshape(-1, *(1,) * n)


def _crop(full: list[int], wanted: Ints, auto_pad: str) -> list[int]:
    """Pads that leave the wanted shape; the odd element goes to the end for SAME_UPPER, else to the beginning."""
    totals = [f - w for f, w in zip(full, wanted, strict=True)]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return small + large if auto_pad == "SAME_UPPER" else large + small


@lowering("ConvInteger")
def conv_integer(
    x: Tensor,
    weight: Tensor,
    x_zero: Tensor | None = None,
    weight_zero: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    kernel_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Tensor:
    """Computed in float64, which holds every sum of 8-bit products exactly."""
    a = x.double() if x_zero is None else x.double() - x_zero.double()
    b = weight.double()
    if weight_zero is not None:
        b = b - weight_zero.double().reshape(-1, *(1,) * (weight.dim() - 1))
    return conv(a, b, auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides).int()
