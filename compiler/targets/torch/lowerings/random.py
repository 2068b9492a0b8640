"""Random tensors, from PyTorch's generator: a graph's `seed` is for runtimes that have none of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.compiler.targets.torch.arrays import torch_dtype
from lamina.compiler.targets.torch.registry import Ints, lowering


def _dtype(code: int | None, like: torch.dtype) -> torch.dtype:
    return like if code is None else torch_dtype(code)


@lowering("RandomNormal")
def random_normal(*, shape: Ints, dtype: int = 1, mean: float = 0.0, scale: float = 1.0, seed: float = 0.0, device: torch.device) -> Tensor:
    return torch.randn(shape, dtype=torch_dtype(dtype), device=device) * scale + mean


@lowering("RandomNormalLike")
def random_normal_like(x: Tensor, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float = 0.0) -> Tensor:
    return torch.randn(x.shape, dtype=_dtype(dtype, x.dtype), device=x.device) * scale + mean


@lowering("RandomUniform")
def random_uniform(*, shape: Ints, dtype: int = 1, high: float = 1.0, low: float = 0.0, seed: float = 0.0, device: torch.device) -> Tensor:
    return torch.rand(shape, dtype=torch_dtype(dtype), device=device) * (high - low) + low


@lowering("RandomUniformLike")
def random_uniform_like(x: Tensor, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float = 0.0) -> Tensor:
    return torch.rand(x.shape, dtype=_dtype(dtype, x.dtype), device=x.device) * (high - low) + low


@lowering("Bernoulli")
def bernoulli(x: Tensor, *, dtype: int | None = None, seed: float = 0.0) -> Tensor:
    return torch.bernoulli(x).to(_dtype(dtype, x.dtype))


@lowering("Multinomial")
def multinomial(x: Tensor, *, dtype: int = 6, sample_size: int = 1, seed: float = 0.0) -> Tensor:
    """x: [N, classes], logarithms of unnormalised probabilities."""
    return torch.multinomial(torch.softmax(x, -1), sample_size, replacement=True).to(torch_dtype(dtype))


@lowering("torch.noise")
def noise(x: Tensor, *, kind: str = "normal", training: bool) -> Tensor:
    """x, and in train mode a random number with each element: standard normal, or from -1 to 1."""
    if not training:
        return x
    return x + (torch.randn_like(x) if kind == "normal" else 2 * torch.rand_like(x) - 1)
