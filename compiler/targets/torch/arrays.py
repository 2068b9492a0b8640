"""Arrays and dtypes between NumPy, ONNX and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lamina.compiler.numeric import ONNX_DTYPE
from lamina.schema.dims import FLOATS

_BY_ENUM: dict[int, torch.dtype] = {code: getattr(torch, name) for name, code in ONNX_DTYPE.items()}


def torch_dtype(of: int | str) -> torch.dtype:
    """The PyTorch dtype of an ONNX enumeration value or of one of our dtype names. Raises ValueError for any other."""
    code = ONNX_DTYPE.get(of) if isinstance(of, str) else of
    if code not in _BY_ENUM:
        raise ValueError(f"{of!r} is not a dtype that tensors of a model have")
    return _BY_ENUM[code]


def widened(of: int | str) -> int | str:
    """float64 in place of a narrower float, in the same notation; any other dtype unchanged."""
    if of in FLOATS:
        return "float64"
    return ONNX_DTYPE["float64"] if of in {ONNX_DTYPE[name] for name in FLOATS} else of


def from_numpy(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """A tensor with its own copy of the array. bfloat16 is ml_dtypes' on the NumPy side."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(array.view(np.int16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """The tensor's values as an array in main memory."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype is torch.bfloat16:
        import ml_dtypes

        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
