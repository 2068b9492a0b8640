"""Products of rows in groups."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.compiler.targets.torch.registry import Ints, lowering


@lowering("torch.grouped_matmul")
def grouped_matmul(x: Tensor, loads: Ints, *weights: Tensor, transposed: bool) -> Tensor:
    """Rows by the matrix of their group, in the order of the groups; zeros for rows after them.

    A group without rows takes no part, unless its matrix is to have a gradient.
    """
    sizes = [*loads, x.shape[0] - sum(loads)]
    width = weights[0].shape[0 if transposed else 1]
    if torch.is_grad_enabled():
        pairs = zip(torch.split(x, sizes), weights, strict=False)
        return torch.cat([*(_product(rows, weight, transposed) for rows, weight in pairs), x.new_zeros(sizes[-1], width)])
    made, row = x.new_empty(x.shape[0], width), 0
    for size, weight in zip(loads, weights, strict=True):
        if size:
            torch.mm(x[row : row + size], weight.mT if transposed else weight, out=made[row : row + size])
            row += size
    made[row:] = 0
    return made


def _product(rows: Tensor, weight: Tensor, transposed: bool) -> Tensor:
    return torch.nn.functional.linear(rows, weight) if transposed else rows @ weight
