"""PyTorch's default initialisers, as the texts that `Weight.init` takes."""

from __future__ import annotations

import math


def kaiming(fan_in: int) -> str:
    """Uniform within 1 / sqrt(fan_in): what PyTorch gives the weights and biases of linear and convolutional layers."""
    return f"uniform({1 / math.sqrt(fan_in)!r})"
