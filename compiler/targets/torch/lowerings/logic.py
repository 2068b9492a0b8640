"""Comparison, Boolean and bitwise operators, and selection."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.compiler.targets.torch.registry import direct, lowering

direct({"Not": torch.logical_not, "BitwiseNot": torch.bitwise_not})
direct(
    {
        "And": torch.logical_and,
        "BitwiseAnd": torch.bitwise_and,
        "BitwiseOr": torch.bitwise_or,
        "BitwiseXor": torch.bitwise_xor,
        "Equal": torch.eq,
        "Greater": torch.gt,
        "GreaterOrEqual": torch.ge,
        "Less": torch.lt,
        "LessOrEqual": torch.le,
        "Or": torch.logical_or,
        "Xor": torch.logical_xor,
    },
    inputs=2,
)
direct({"Where": torch.where}, inputs=3)


@lowering("BitShift")
def bit_shift(x: Tensor, by: Tensor, *, direction: str) -> Tensor:
    return torch.bitwise_left_shift(x, by) if direction == "LEFT" else torch.bitwise_right_shift(x, by)
