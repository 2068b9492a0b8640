"""Our dtype names as numpy dtypes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from lamina.runtime.errors import BackendMissing

Array = np.ndarray[Any, Any]


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """`float32` -> dtype('float32'); `bfloat16` is ml_dtypes', which numpy lacks: BackendMissing without it."""
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError as error:
            raise BackendMissing(
                f"numpy has no bfloat16, and ml_dtypes cannot be imported ({error}); pip install lamina[bfloat16]"
            ) from error
        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)
