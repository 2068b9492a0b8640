"""Our own kernels for ONNX Runtime, in C: built where a compiler is at hand when Lamina is installed.

A file that has their operators says of each what it is in other operators, so it also runs where the library is missing.
"""

from __future__ import annotations

from pathlib import Path


def library() -> Path | None:
    """The library, if it was built."""
    return next(Path(__file__).parent.glob("_kernels*.so"), None)


def instructions() -> str | None:
    """Which of the processor's instructions the kernels use: AMX, AVX-512 VNNI, AVX2, or none, where they leave all to ONNX Runtime."""
    import ctypes

    path = library()
    if path is None:
        return None
    asked = ctypes.CDLL(str(path)).lamina_instructions
    asked.restype = ctypes.c_char_p
    return bytes(asked()).decode()
