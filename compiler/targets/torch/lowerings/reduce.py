"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from lamina.compiler.targets.torch.registry import Ints, lowering

Reducer = Callable[[Tensor, Ints, bool], Tensor]


def _sum(x: Tensor, dims: Ints, keep: bool) -> Tensor:
    return torch.sum(x, dims, keepdim=keep, dtype=x.dtype)


def _mean(x: Tensor, dims: Ints, keep: bool) -> Tensor:
    return torch.mean(x, dims, keepdim=keep)


def _prod(x: Tensor, dims: Ints, keep: bool) -> Tensor:
    descending = sorted((d % x.dim() for d in dims), reverse=True)
    return reduce(lambda y, d: torch.prod(y, d, keepdim=keep, dtype=x.dtype), descending, x)


def _max(x: Tensor, dims: Ints, keep: bool) -> Tensor:
    return torch.amax(_with_identity(x, dims, largest=False), dims, keepdim=keep)


def _min(x: Tensor, dims: Ints, keep: bool) -> Tensor:
    return torch.amin(_with_identity(x, dims, largest=True), dims, keepdim=keep)


def _log_sum_exp(x: Tensor, dims: Ints, keep: bool) -> Tensor:
    return torch.logsumexp(x, dims, keepdim=keep)


def _with_identity(x: Tensor, dims: Ints, largest: bool) -> Tensor:
    """PyTorch has no maximum of nothing, ONNX has: a reduced axis of size 0 gets one element, the extreme of the dtype."""
    empty = [d % x.dim() for d in dims if x.shape[d] == 0]
    if not empty:
        return x
    shape = [1 if d in empty else n for d, n in enumerate(x.shape)]
    if x.is_floating_point():
        return x.new_full(shape, float("inf") if largest else float("-inf"))
    info = torch.iinfo(x.dtype) if x.dtype is not torch.bool else None
    return x.new_full(shape, (info.max if largest else info.min) if info else largest)


def _apply(function: Reducer, x: Tensor, axes: Ints | None, keepdims: int, noop: int) -> Tensor:
    if not axes and noop:
        return x
    return function(x, tuple(axes or range(x.dim())), bool(keepdims))


@lowering("ReduceSum")
def reduce_sum(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_sum, x, axes, keepdims, noop_with_empty_axes)


@lowering("ReduceMean")
def reduce_mean(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_mean, x, axes, keepdims, noop_with_empty_axes)


@lowering("ReduceProd")
def reduce_prod(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_prod, x, axes, keepdims, noop_with_empty_axes)


@lowering("ReduceMax")
def reduce_max(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_max, x, axes, keepdims, noop_with_empty_axes)


@lowering("ReduceMin")
def reduce_min(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_min, x, axes, keepdims, noop_with_empty_axes)


@lowering("ReduceL1")
def reduce_l1(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_sum, x.abs(), axes, keepdims, noop_with_empty_axes)


@lowering("ReduceL2")
def reduce_l2(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_sum, x * x, axes, keepdims, noop_with_empty_axes).sqrt()


@lowering("ReduceSumSquare")
def reduce_sum_square(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_sum, x * x, axes, keepdims, noop_with_empty_axes)


@lowering("ReduceLogSum")
def reduce_log_sum(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_sum, x, axes, keepdims, noop_with_empty_axes).log()


@lowering("ReduceLogSumExp")
def reduce_log_sum_exp(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return _apply(_log_sum_exp, x, axes, keepdims, noop_with_empty_axes)
