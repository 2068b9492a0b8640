"""PyTorch's namesakes of the ops that make tensors, choose between them or multiply them."""

from typing import Any

import torch

REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _arange(start: int, end: int | None, step: int, dtype: str) -> torch.Tensor:
    return torch.arange(*((0, start) if end is None else (start, end)), step)


def _scatter(x: torch.Tensor, index: torch.Tensor, source: torch.Tensor, dim: int, reduce: str) -> torch.Tensor:
    if reduce == "none":
        return x.scatter(dim, index.long(), source)
    return x.scatter_reduce(dim, index.long(), source, REDUCE[reduce])


def _segment_max(x: torch.Tensor, index: torch.Tensor, count: int) -> torch.Tensor:
    """Segment by segment."""
    found = [x[index == c] for c in range(count)]
    return torch.stack([rows.amax(0) if len(rows) else torch.zeros_like(x[0]) for rows in found])


def _segment_sum(x: torch.Tensor, index: torch.Tensor, count: int) -> torch.Tensor:
    return torch.zeros(count, *x.shape[1:], dtype=x.dtype).index_add(0, index.long(), x)


def _outer(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.outer(x, y) if x.ndim == y.ndim == 1 else torch.einsum("...i,...j->...ij", x, y)


def _full(shape: list[int], value: Any, dtype: str) -> torch.Tensor:
    return torch.full(shape, value)


def _constant(values: list[Any], shape: list[int] | None, dtype: str) -> torch.Tensor:
    return torch.tensor(values).reshape([-1] if shape is None else shape)


REFERENCES = {
    "identity": torch.clone,
    "cast": lambda x, to: x.to(getattr(torch, to)),
    "isnan": torch.isnan,
    "clamp": torch.clamp,
    "mod": torch.remainder,
    "floor_divide": torch.floor_divide,
    "shift_left": torch.bitwise_left_shift,
    "shift_right": torch.bitwise_right_shift,
    "where": torch.where,
    "lerp": torch.lerp,
    "atan2": torch.atan2,
    "zeros": lambda shape, dtype: torch.zeros(shape),
    "ones": lambda shape, dtype: torch.ones(shape),
    "full": _full,
    "constant": _constant,
    "zeros_like": torch.zeros_like,
    "ones_like": torch.ones_like,
    "eye": lambda n, dtype: torch.eye(n),
    "arange": _arange,
    "size": lambda size, dtype: torch.tensor(size),
    "linspace": lambda start, end, steps, dtype: torch.linspace(start, end, steps, dtype=torch.float64),
    "matmul": torch.matmul,
    "einsum": lambda *xs, equation: torch.einsum(equation, *xs),
    "outer": _outer,
    "parameter": lambda weight, **_: weight,
    "segment_max": _segment_max,
    "segment_sum": _segment_sum,
    "scatter": _scatter,
}
