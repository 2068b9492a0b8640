"""Padding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.compiler.targets.torch.registry import Ints, Scalar, lowering


@lowering("Pad")
def pad(x: Tensor, pads: Ints, value: Scalar | None = None, axes: Ints | None = None, *, mode: str = "constant") -> Tensor:
    """Negative pads crop. `reflect`, `edge` and `wrap` reindex each axis, so they work at every rank and width."""
    places = [a % x.dim() for a in axes] if axes is not None else list(range(x.dim()))
    begins, ends = dict(zip(places, pads, strict=False)), dict(zip(places, pads[len(places) :], strict=True))
    if mode == "constant":
        fill = 0 if value is None else value.item() if isinstance(value, Tensor) else value
        widths = [w for axis in reversed(range(x.dim())) for w in (begins.get(axis, 0), ends.get(axis, 0))]
        return F.pad(x, widths, value=fill)
    for axis in places:
        if begins[axis] != 0 or ends[axis] != 0:
            x = x.index_select(axis, _sources(x, axis, begins[axis], ends[axis], mode))
    return x


def _sources(x: Tensor, axis: int, begin: int, end: int, mode: str) -> Tensor:
    """Which element of the axis each padded position repeats."""
    n = x.shape[axis]
    positions = torch.arange(-begin, n + end, device=x.device)
    if mode == "edge":
        return positions.clamp(0, n - 1)
    if mode == "wrap":
        return positions % n
    period = max(2 * (n - 1), 1)
    folded = positions % period
    return torch.where(folded < n, folded, period - folded)
