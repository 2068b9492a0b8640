"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.compiler.targets.torch.registry import direct, lowering

direct({"MatMul": torch.matmul}, inputs=2)


@lowering("Gemm")
def gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Tensor:
    product = (a.mT if transA else a) @ (b.mT if transB else b)
    product = product if alpha == 1.0 else product * alpha
    if c is None:
        return product
    return product + (c if beta == 1.0 else c * beta)


@lowering("Einsum")
def einsum(*xs: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation, *xs)


@lowering("MatMulInteger")
def mat_mul_integer(a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
    """Zero points are scalars, or one per row of `a` and per column of `b`."""
    a, b = a.int(), b.int()
    if a_zero is not None:
        a = a - (a_zero.int().unsqueeze(-1) if a_zero.dim() == 1 and a_zero.numel() > 1 else a_zero.int())
    return a @ (b if b_zero is None else b - b_zero.int())
