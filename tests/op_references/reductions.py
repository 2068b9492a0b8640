"""PyTorch's namesakes of the reductions, scans and normalisations along dims."""

from typing import Any

import torch


def _every(dims: Any, x: torch.Tensor) -> Any:
    return tuple(range(x.ndim)) if dims is None else dims


def _cumsum(x: torch.Tensor, dim: int, exclusive: bool, reverse: bool) -> torch.Tensor:
    x = x.flip(dim) if reverse else x
    y = torch.cumsum(x, dim) - (x if exclusive else 0)
    return y.flip(dim) if reverse else y


def _fold(function: Any, x: torch.Tensor, dims: Any, keepdim: bool) -> torch.Tensor:
    """A reduction that PyTorch offers over one dim only."""
    for dim in [dims] if isinstance(dims, int) else sorted((d % x.ndim for d in _every(dims, x)), reverse=True):
        x = function(x, dim, keepdim)
    return x


REFERENCES = {
    "sum": lambda x, dims, keepdim: torch.sum(x, _every(dims, x), keepdim),
    "mean": lambda x, dims, keepdim: torch.mean(x, _every(dims, x), keepdim),
    "max": lambda x, dims, keepdim: torch.amax(x, _every(dims, x), keepdim),
    "min": lambda x, dims, keepdim: torch.amin(x, _every(dims, x), keepdim),
    "prod": lambda x, dims, keepdim: _fold(torch.prod, x, dims, keepdim),
    "any": lambda x, dims, keepdim: torch.any(x, _every(dims, x), keepdim),
    "all": lambda x, dims, keepdim: torch.all(x, _every(dims, x), keepdim),
    "logsumexp": lambda x, dims, keepdim: torch.logsumexp(x, _every(dims, x), keepdim),
    "var": lambda x, dims, keepdim, correction: torch.var(x, dims, correction=correction, keepdim=keepdim),
    "std": lambda x, dims, keepdim, correction: torch.std(x, dims, correction=correction, keepdim=keepdim),
    "norm": lambda x, dims, keepdim, p: torch.linalg.vector_norm(x, p, dims, keepdim),
    "argmax": lambda x, dim, keepdim: torch.argmax(x, dim, keepdim),
    "argmin": lambda x, dim, keepdim: torch.argmin(x, dim, keepdim),
    "cumsum": _cumsum,
    "softmax": torch.softmax,
    "log_softmax": torch.log_softmax,
    "l2_normalize": lambda x, dim, eps: torch.nn.functional.normalize(x, dim=dim, eps=eps),
}
