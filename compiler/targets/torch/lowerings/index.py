"""Gathering and scattering by index. Negative indices count from the end."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lamina.compiler.targets.torch.registry import Ints, lowering

_REDUCTION = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _wrapped(indices: Tensor, size: int) -> Tensor:
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


@lowering("Gather")
def gather(x: Tensor, indices: Tensor | int, *, axis: int = 0) -> Tensor:
    """PyTorch reads the value of a scalar index, which no tracer can see; one row selected by a vector of one is the same."""
    if isinstance(indices, int | torch.SymInt):
        return x.select(axis, indices)
    if indices.dim() == 0:
        return x.index_select(axis, _wrapped(indices.reshape(1), x.shape[axis])).squeeze(axis)
    return x[(slice(None),) * (axis % x.dim()) + (indices,)]


@lowering("GatherElements")
def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return torch.gather(x, axis, _wrapped(indices, x.shape[axis]))


@lowering("GatherND")
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    batch, depth = x.shape[:batch_dims], indices.shape[-1]
    inner = x.dim() - batch_dims - depth
    ranges = [
        torch.arange(n, device=x.device).reshape([-1 if i == j else 1 for j in range(batch_dims)] + [1] * (indices.dim() - 1 - batch_dims))
        for i, n in enumerate(batch)
    ]
    assert inner >= 0
    return x[(*ranges, *indices.unbind(-1))]


@lowering("ScatterElements")
def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    places = _wrapped(indices, x.shape[axis])
    if reduction == "none":
        return torch.scatter(x, axis, places, updates)
    return torch.scatter_reduce(x, axis, places, updates, _REDUCTION[reduction], include_self=True)


@lowering("ScatterND")
def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """The indexed axes are flattened to one, so that every reduction is a scatter of rows."""
    depth = indices.shape[-1]
    lead = x.shape[:depth]
    flat = torch.zeros_like(indices[..., 0])
    for axis, n in enumerate(lead):
        flat = flat * n + _wrapped(indices[..., axis], n)
    rows = x.reshape(math.prod(lead), -1)
    places = flat.reshape(-1, 1).expand(-1, rows.shape[1])
    values = updates.reshape(places.shape)
    if reduction == "none":
        return torch.scatter(rows, 0, places, values).reshape(x.shape)
    return torch.scatter_reduce(rows, 0, places, values, _REDUCTION[reduction], include_self=True).reshape(x.shape)


@lowering("OneHot")
def one_hot(indices: Tensor, depth: Ints, values: Tensor, *, axis: int = -1) -> Tensor:
    """`values` is [off, on]; an index outside the depth gives only off values."""
    size = depth[0]
    classes = torch.arange(size, device=indices.device)
    hot = _wrapped(indices, size).unsqueeze(-1) == classes
    return torch.where(hot, values[1], values[0]).movedim(-1, axis)


@lowering("Compress")
def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    x, dim = (x.reshape(-1), 0) if axis is None else (x, axis)
    return x.index_select(dim, torch.nonzero(condition).squeeze(1))


@lowering("TensorScatter")
def tensor_scatter(cache: Tensor, update: Tensor, write: Tensor | None = None, *, axis: int = -2, mode: str = "linear") -> Tensor:
    """Write `update` into each batch row of `cache` along `axis`, from position `write[b]` (0 when absent)."""
    dim = axis % cache.dim()
    steps = torch.arange(update.shape[dim], device=cache.device)
    start = steps.new_zeros(cache.shape[0]) if write is None else write
    places = start.reshape(-1, 1) + steps
    if mode == "circular":
        places = places % cache.shape[dim]
    shape = [places.shape[0] if d == 0 else places.shape[1] if d == dim else 1 for d in range(cache.dim())]
    return torch.scatter(cache, dim, places.reshape(shape).expand(update.shape), update)
