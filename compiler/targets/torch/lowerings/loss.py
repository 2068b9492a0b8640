"""Losses over classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.compiler.targets.torch.registry import lowering


@lowering("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(
    x: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    return F.nll_loss(x, target.long(), weight, ignore_index=ignore_index, reduction=reduction)


@lowering("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(
    x: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> tuple[Tensor, Tensor]:
    """The loss, and the logarithm of the probabilities."""
    logs = torch.log_softmax(x, 1)
    return negative_log_likelihood_loss(logs, target, weight, ignore_index=ignore_index, reduction=reduction), logs
