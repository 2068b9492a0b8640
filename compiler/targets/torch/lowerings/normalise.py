"""Normalisations. Those with running statistics update them in training, as PyTorch's own layers do."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.compiler.targets.torch.registry import Ints, lowering


@lowering("BatchNormalization")
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
    training: bool,
) -> tuple[Tensor, ...]:
    """In train mode `mean` and `var` are updated in place with PyTorch's unbiased variance.

    `training_mode` asks for ONNX's own form instead: batch statistics always, and new running statistics as outputs.
    """
    if not training_mode:
        return (F.batch_norm(x, mean, var, scale, bias, training, 1.0 - momentum, epsilon),)
    dims = (0, *range(2, x.dim()))
    now_mean, now_var = x.mean(dims), x.var(dims, unbiased=False)
    y = F.batch_norm(x, None, None, scale, bias, True, 0.0, epsilon)
    return y, mean * momentum + now_mean * (1 - momentum), var * momentum + now_var * (1 - momentum)


@lowering("torch.running_variance")
def running_variance(x: Tensor, running: Tensor, *, momentum: float, training: bool) -> Tensor:
    """The batch's variance in train mode, where `running` moves in place towards its unbiased form; `running` itself otherwise."""
    if not training:
        return running
    variance, count = x.var((0, *range(2, x.dim())), unbiased=False), x.numel() // x.shape[1]
    with torch.no_grad():
        running.lerp_(variance * (count / max(count - 1, 1)), momentum)
    return variance


@lowering("InstanceNormalization")
def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, None, None, scale, bias, True, 0.0, epsilon)


@lowering("GroupNormalization")
def group_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1) -> Tensor:
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@lowering("LayerNormalization")
def layer_normalization(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1, outputs: int = 1
) -> tuple[Tensor, ...]:
    inner = x.shape[axis:]
    exact = scale.shape == inner and (bias is None or bias.shape == inner)
    if outputs == 1 and exact:
        return (F.layer_norm(x, inner, scale, bias, epsilon),)
    dims = tuple(range(axis % x.dim(), x.dim()))
    wide = x if x.dtype is torch.float64 else x.float()
    mean = wide.mean(dims, keepdim=True)
    inverse = torch.rsqrt((wide - mean).square().mean(dims, keepdim=True) + epsilon)
    y = ((wide - mean) * inverse).to(x.dtype) * scale
    return (y if bias is None else y + bias), mean, inverse


@lowering("RMSNormalization")
def rms_normalization(x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Tensor:
    if scale.shape == x.shape[axis:]:
        return F.rms_norm(x, x.shape[axis:], scale, epsilon)
    wide = x if x.dtype is torch.float64 else x.float()
    square = wide.square().mean(tuple(range(axis % x.dim(), x.dim())), keepdim=True)
    return (wide * torch.rsqrt(square + epsilon)).to(x.dtype) * scale


@lowering("LRN")
def lrn(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """ONNX's window reaches (size - 1) // 2 channels back; PyTorch's reaches size // 2."""
    squares = x.square().flatten(2).transpose(1, 2)
    before = (size - 1) // 2
    means = F.avg_pool1d(F.pad(squares, (before, size - 1 - before)), size, 1)
    return x / (bias + alpha * means.transpose(1, 2).reshape(x.shape)) ** beta


@lowering("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    norm = x.abs().sum(axis, keepdim=True) if p == 1 else x.square().sum(axis, keepdim=True).sqrt()
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


@lowering("MeanVarianceNormalization")
def mean_variance_normalization(x: Tensor, *, axes: Ints = (0, 2, 3)) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)
