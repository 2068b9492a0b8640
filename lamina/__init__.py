"""Lamina: one YAML file that describes a neural network; ONNX files, TensorRT engines and PyTorch modules that compute it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.compiler.api import check, load, to_torch
    from lamina.compiler.compile import compile
    from lamina.runtime import Session, generate, generate_stream, layer_origins, origins, sample, sample_stream

__all__ = [
    "Session",
    "check",
    "compile",
    "generate",
    "generate_stream",
    "layer_origins",
    "load",
    "origins",
    "sample",
    "sample_stream",
    "to_torch",
]
__version__ = "0.1.0"
_HOMES = {
    "Session": "lamina.runtime",
    "check": "lamina.compiler.api",
    "compile": "lamina.compiler.compile",
    "generate": "lamina.runtime",
    "generate_stream": "lamina.runtime",
    "layer_origins": "lamina.runtime",
    "load": "lamina.compiler.api",
    "origins": "lamina.runtime",
    "sample": "lamina.runtime",
    "sample_stream": "lamina.runtime",
    "to_torch": "lamina.compiler.api",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a program that only runs bundles never loads the compiler."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'lamina' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if not _HOMES[name].startswith("lamina.compiler") or (error.name or "").startswith("lamina"):
            raise
        message = f"lamina.{name} needs {error.name}, which is not installed beside the runtime alone; pip install lamina[compile]"
        raise ModuleNotFoundError(message, name=error.name) from error
