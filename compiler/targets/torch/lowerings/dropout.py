"""Dropout."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.compiler.targets.torch.registry import Scalar, lowering


@lowering("Dropout")
def dropout(
    x: Tensor, ratio: Scalar | None = None, training_mode: Scalar | None = None, *, seed: int = 0, training: bool, outputs: int = 1
) -> tuple[Tensor, ...]:
    """Active in train mode, or where the graph itself asks for it. The mask comes from PyTorch's generator, not from `seed`."""
    rate = 0.5 if ratio is None else float(ratio)
    if not training and not (training_mode is not None and bool(training_mode)):
        return (x, torch.ones_like(x, dtype=torch.bool)) if outputs > 1 else (x,)
    if outputs == 1:
        return (F.dropout(x, rate),)
    kept = torch.rand_like(x) >= rate
    return torch.where(kept, x / (1 - rate), torch.zeros_like(x)), kept
