"""Positions and order: arg-reductions, sorting, cumulation, non-zeros."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.compiler.targets.torch.registry import Ints, lowering


def _last(x: Tensor, positions: Tensor, axis: int) -> Tensor:
    return x.shape[axis] - 1 - positions


@lowering("ArgMax")
def arg_max(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    if select_last_index:
        return _last(x, torch.argmax(x.flip(axis), axis, keepdim=bool(keepdims)), axis)
    return torch.argmax(x, axis, keepdim=bool(keepdims))


@lowering("ArgMin")
def arg_min(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    if select_last_index:
        return _last(x, torch.argmin(x.flip(axis), axis, keepdim=bool(keepdims)), axis)
    return torch.argmin(x, axis, keepdim=bool(keepdims))


@lowering("TopK")
def top_k(x: Tensor, k: Ints, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:
    """ONNX breaks ties by the lower index, which torch.topk does not promise and a stable sort does."""
    values, indices = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    return values.narrow(axis, 0, k[0]), indices.narrow(axis, 0, k[0])


def _cumulate(function: str, x: Tensor, axis: int, exclusive: int, reverse: int, start: int) -> Tensor:
    x = x.flip(axis) if reverse else x
    if exclusive:
        first = torch.full_like(x.narrow(axis, 0, 1), start)
        x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
    total: Tensor = getattr(torch, function)(x, axis, dtype=x.dtype)
    return total.flip(axis) if reverse else total


@lowering("CumSum")
def cum_sum(x: Tensor, axis: Ints, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    return _cumulate("cumsum", x, axis[0], exclusive, reverse, 0)


@lowering("CumProd")
def cum_prod(x: Tensor, axis: Ints, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    return _cumulate("cumprod", x, axis[0], exclusive, reverse, 1)


@lowering("NonZero")
def non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x).t()


@lowering("Unique")
def unique(x: Tensor, *, axis: int | None = None, sorted: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values, index of the first occurrence of each, the inverse, the counts. Unsorted keeps the order of first occurrence."""
    flat, dim = (x.reshape(-1), 0) if axis is None else (x, axis)
    values, inverse, counts = torch.unique(flat, return_inverse=True, return_counts=True, dim=dim)
    positions = torch.arange(inverse.numel(), device=x.device)
    first = torch.full_like(counts, inverse.numel()).scatter_reduce(0, inverse, positions, "amin")
    if not sorted:
        order = torch.argsort(first)
        values, first, counts = values.index_select(dim, order), first[order], counts[order]
        inverse = torch.argsort(order)[inverse]
    return values, first, inverse, counts
