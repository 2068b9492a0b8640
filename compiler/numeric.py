"""dtypes by name: NumPy's and ONNX's view of them. bfloat16 comes from ml_dtypes, and only when asked for."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

ONNX_DTYPE = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "bfloat16": 16,
}


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of that name."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def digest(array: np.ndarray[Any, Any]) -> str:
    """The SHA-256 of an array's dtype, shape and elements, in hexadecimal."""
    kind = array.dtype.str + array.dtype.char  # NumPy's name takes longer than the rest
    found = hashlib.sha256(f"{kind}{array.shape}".encode())
    found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()
