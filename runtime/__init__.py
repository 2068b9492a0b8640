"""Run a bundle: named numpy arrays in, named numpy arrays out. Imports neither torch nor the compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.session import Session

if TYPE_CHECKING:
    from lamina.runtime.generation.generate import generate, generate_stream
    from lamina.runtime.generation.texts import Generated
    from lamina.runtime.places import Place, layer_origins, origins
    from lamina.runtime.sampling.sample import sample, sample_stream

__all__ = [
    "BackendMissing",
    "BundleError",
    "Generated",
    "InputError",
    "Place",
    "Session",
    "generate",
    "generate_stream",
    "layer_origins",
    "origins",
    "sample",
    "sample_stream",
]
_HOMES = {
    "Generated": "lamina.runtime.generation.texts",
    "Place": "lamina.runtime.places",
    "generate": "lamina.runtime.generation.generate",
    "generate_stream": "lamina.runtime.generation.generate",
    "layer_origins": "lamina.runtime.places",
    "origins": "lamina.runtime.places",
    "sample": "lamina.runtime.sampling.sample",
    "sample_stream": "lamina.runtime.sampling.sample",
}


def __getattr__(name: str) -> Any:
    """Import on first use: most bundles are of models that generate nothing."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'lamina.runtime' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
