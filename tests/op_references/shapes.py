"""PyTorch's namesakes of the ops that move elements about."""

from typing import Any

import torch
import torch.nn.functional as F

MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _gather(x: torch.Tensor, index: torch.Tensor, dim: int) -> torch.Tensor:
    at = dim % x.ndim
    picked = x.index_select(at, index.flatten())
    return picked.reshape(*x.shape[:at], *index.shape, *x.shape[at + 1 :])


def _pad(x: torch.Tensor, amounts: Any, mode: str, value: float) -> torch.Tensor:
    given = amounts if isinstance(amounts, list) else [amounts] * (x.ndim - 2)
    flat = [n for a in reversed(given) for n in (a if isinstance(a, list) else [a, a])]
    if mode == "constant":
        return F.pad(x, flat, value=value)
    batched = x if x.ndim > 2 else x[None]
    return F.pad(batched, flat, MODES[mode]).reshape(-1, *F.pad(x, flat).shape[1:])


def _squeeze(x: torch.Tensor, dims: Any) -> torch.Tensor:
    return torch.squeeze(x, dims if isinstance(dims, int) else tuple(dims))


def _unsqueeze(x: torch.Tensor, dims: Any) -> torch.Tensor:
    added = [dims] if isinstance(dims, int) else dims
    for dim in sorted(d % (x.ndim + len(added)) for d in added):
        x = torch.unsqueeze(x, dim)
    return x


def _split(x: torch.Tensor, parts: Any, dim: int) -> Any:
    return torch.chunk(x, parts, dim) if isinstance(parts, int) else torch.split(x, parts, dim)


REFERENCES = {
    "reshape": lambda x, shape: torch.reshape(x, shape),
    "flatten": lambda x, start, end: torch.flatten(x, start, end),
    "transpose": torch.transpose,
    "permute": torch.permute,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "concat": lambda *xs, dim: torch.cat(xs, dim),
    "stack": lambda *xs, dim: torch.stack(xs, dim),
    "split": _split,
    "slice": lambda x, dim, start, end, step: x.movedim(dim, 0)[start:end:step].movedim(0, dim),
    "select": torch.select,
    "gather": _gather,
    "take_along_dim": lambda x, index, dim: torch.take_along_dim(x, index.long(), dim),
    "expand": lambda x, shape: x.expand(*shape),
    "tile": lambda x, repeats: torch.tile(x, repeats),
    "repeat_interleave": lambda x, repeats, dim: torch.repeat_interleave(x, repeats, dim),
    "pad": _pad,
    "flip": lambda x, dims: torch.flip(x, [dims] if isinstance(dims, int) else dims),
    "roll": torch.roll,
    "tril": torch.tril,
    "triu": torch.triu,
    "one_hot": lambda x, classes, dtype: F.one_hot(x.long(), classes),
    "top_k": lambda x, k, dim, largest, sorted: tuple(torch.topk(x, k, dim, largest)),
    "sort": lambda x, dim, descending: tuple(torch.sort(x, dim, descending)),
    "pixel_shuffle": lambda x, factor: F.pixel_shuffle(x, factor),
    "pixel_unshuffle": lambda x, factor: F.pixel_unshuffle(x, factor),
}
