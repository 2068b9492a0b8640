"""Tensors made from sizes and numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.compiler.targets.torch.arrays import torch_dtype
from lamina.compiler.targets.torch.registry import Ints, lowering


@lowering("ConstantOfShape")
def constant_of_shape(shape: Ints, *, value: Tensor | None = None, device: torch.device) -> Tensor:
    filler = torch.zeros(1, device=device) if value is None else value
    return filler.expand(shape) if shape else filler.reshape(())


@lowering("Range")
def range_(start: Tensor | int, limit: Tensor | int, delta: Tensor | int, *, device: torch.device) -> Tensor:
    dtypes = [v.dtype for v in (start, limit, delta) if isinstance(v, Tensor)]
    numbers = [v.item() if isinstance(v, Tensor) else v for v in (start, limit, delta)]
    return torch.arange(*numbers, dtype=dtypes[0] if dtypes else torch.int64, device=device)


@lowering("EyeLike")
def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    rows = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    columns = torch.arange(x.shape[1], device=x.device)
    return (columns - rows == k).to(x.dtype if dtype is None else torch_dtype(dtype))
