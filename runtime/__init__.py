"""Run a bundle: named numpy arrays in, named numpy arrays out. Imports neither torch nor the compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.session import Session

if TYPE_CHECKING:
    from lamina.runtime.generation.generate import Generated, generate, generate_stream

__all__ = ["BackendMissing", "BundleError", "Generated", "InputError", "Session", "generate", "generate_stream"]


def __getattr__(name: str) -> Any:
    """Import on first use: most bundles are of models that generate nothing."""
    if name not in ("Generated", "generate", "generate_stream"):
        raise AttributeError(f"module 'lamina.runtime' has no attribute {name!r}")
    from lamina.runtime.generation import generate

    return getattr(generate, name)
