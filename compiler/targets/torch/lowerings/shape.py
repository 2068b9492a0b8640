"""Shapes and layout: what moves elements without computing them."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.compiler.targets.torch.registry import Ints, lowering

LARGEST = 2**63 - 1


@lowering("Shape")
def shape(x: Tensor, *, start: int = 0, end: int = LARGEST) -> Ints:
    return tuple(x.shape[start:end])


@lowering("Size")
def size(x: Tensor) -> int:
    return x.numel()


@lowering("Reshape")
def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    """0 keeps the dimension in its place, -1 takes what is left."""
    return x.reshape([x.shape[i] if s == 0 and not allowzero else s for i, s in enumerate(shape)])


@lowering("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis % x.dim() if axis < 0 else axis
    rows = 1
    for n in x.shape[:axis]:
        rows = rows * n
    columns = 1
    for n in x.shape[axis:]:
        columns = columns * n
    return x.reshape(rows, columns)


@lowering("Transpose")
def transpose(x: Tensor, *, perm: Ints = ()) -> Tensor:
    return x.permute(perm or tuple(reversed(range(x.dim()))))


@lowering("Squeeze")
def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    return torch.squeeze(x) if axes is None else torch.squeeze(x, axes)


@lowering("Unsqueeze")
def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    rank = x.dim() + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@lowering("Concat")
def concat(*xs: Tensor, axis: int) -> Tensor:
    return torch.cat(xs, axis)


@lowering("Split")
def split(x: Tensor, sizes: Ints | None = None, *, axis: int = 0, num_outputs: int = 0, outputs: int) -> tuple[Tensor, ...]:
    """Equal parts without `sizes`; the last is smaller where they do not come out even."""
    if sizes is None:
        part = -(-x.shape[axis] // outputs)
        sizes = (*(part for _ in range(outputs - 1)), x.shape[axis] - part * (outputs - 1))
    return torch.split(x, list(sizes), axis)


@lowering("Slice")
def slice_(x: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Tensor:
    """PyTorch has no negative step: such an axis is flipped, and sliced from its other end."""
    cuts = [slice(None)] * x.dim()
    places = axes if axes is not None else tuple(range(len(starts)))
    for start, end, axis, step in zip(starts, ends, places, steps or (1,) * len(starts), strict=True):
        if step < 0:
            n = x.shape[axis]
            x = x.flip(axis)
            start = n - 1 - min(start + n if start < 0 else start, n - 1)
            end, step = n - 1 - max(end + n if end < 0 else end, -1), -step
        cuts[axis] = slice(start, end, step)
    return x[tuple(cuts)]


@lowering("Expand")
def expand(x: Tensor, shape: Ints) -> Tensor:
    """Broadcasting goes both ways: `shape` may have fewer dimensions, or 1 where `x` is larger."""
    lead = x.dim() - len(shape)
    wanted = list(x.shape[: max(lead, 0)]) + list(shape)
    own = (1,) * max(-lead, 0) + tuple(x.shape)
    return x.expand([n if m == 1 else m for m, n in zip(own, wanted, strict=True)])


@lowering("Tile")
def tile(x: Tensor, repeats: Ints) -> Tensor:
    return x.repeat(repeats)


@lowering("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    n, c, h, w = x.shape
    b, d = blocksize, c // blocksize**2
    if mode == "DCR":
        parts = x.reshape(n, b, b, d, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, d, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, d, h * b, w * b)


@lowering("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    parts = x.reshape(n, c, h // b, b, w // b, b).permute((0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4))
    return parts.reshape(n, b * b * c, h // b, w // b)


@lowering("Trilu")
def trilu(x: Tensor, k: Ints | None = None, *, upper: int = 1) -> Tensor:
    diagonal = k[0] if k else 0
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)


@lowering("ReverseSequence")
def reverse_sequence(x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """Reverse the first `lengths[b]` steps of each sequence, and leave the rest where it is."""
    steps = torch.arange(x.shape[time_axis], device=x.device)
    ends = lengths.reshape(-1, 1)
    order = torch.where(steps < ends, ends - 1 - steps, steps)
    order = order if batch_axis < time_axis else order.t()
    shape = [x.shape[d] if d in (batch_axis, time_axis) else 1 for d in range(x.dim())]
    return torch.gather(x, time_axis, order.reshape(shape).expand(x.shape))


@lowering("CenterCropPad")
def center_crop_pad(x: Tensor, shape: Ints, *, axes: Ints = ()) -> Tensor:
    for axis, wanted in zip(axes or range(x.dim()), shape, strict=True):
        n = x.shape[axis]
        if wanted < n:
            x = x.narrow(axis, (n - wanted) // 2, wanted)
        elif wanted > n:
            zeros = [x.new_zeros([m if d != axis % x.dim() else p for d, m in enumerate(x.shape)]) for p in _halves(wanted - n)]
            x = torch.cat([zeros[0], x, zeros[1]], axis)
    return x


def _halves(total: int) -> tuple[int, int]:
    return total // 2, total - total // 2
