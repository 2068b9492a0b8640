"""Padding arithmetic shared by convolutions and pools. Pads are ONNX's: all begins, then all ends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def resolve_pads(
    x: Tensor, auto_pad: str, pads: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Explicit pads, computed from the spatial shape where `auto_pad` says SAME."""
    n = len(kernel)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        totals = [_total(size, span, s) for size, span, s in zip(x.shape[2:], spans, stride, strict=True)]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        return small + large if auto_pad == "SAME_UPPER" else large + small
    return list(pads) if pads and auto_pad == "NOTSET" else [0] * (2 * n)


def _total(size: int, span: int, stride: int) -> int:
    """Of an axis. A window as wide as its stride wants nothing cut off: without `max`, an exported size stays a short expression."""
    total = (size - 1) // stride * stride + span - size
    return total if span >= stride else torch.sym_max(total, 0)  # type: ignore[no-untyped-call]


def symmetric(pads: Sequence[int]) -> bool:
    """Whether each axis is known to be padded equally on both sides. Pads that follow a dynamic size are not compared."""
    n = len(pads) // 2
    return not any(isinstance(p, torch.SymInt) for p in pads) and list(pads[:n]) == list(pads[n:])


def pad(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad (or crop, where negative) the last axes of `x`."""
    if not any(isinstance(p, torch.SymInt) or p for p in pads):
        return x
    n = len(pads) // 2
    return F.pad(x, [p for axis in reversed(range(n)) for p in (pads[axis], pads[axis + n])], value=value)
