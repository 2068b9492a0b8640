"""Our dtype names as numpy dtypes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """`float32` -> dtype('float32'); `bfloat16` is ml_dtypes', which numpy lacks."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)
