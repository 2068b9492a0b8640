"""The compiler's Python face: load a spec, check it, compile it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.compiler.elaborate import elaborate
from lamina.compiler.load import load_spec
from lamina.schema.diagnostics import Diagnostic, SpecError
from lamina.schema.spec import ModelSpec

__all__ = ["check", "compile", "load"]


def load(path: str | Path, variant: str | None = None, **config: Any) -> ModelSpec:
    """Read a spec file, choosing a variant and config values. Raises SpecError with every diagnostic."""
    return load_spec(path, variant, {k: _yaml(v) for k, v in config.items()})


def check(path: str | Path, variant: str | None = None, **config: Any) -> tuple[Diagnostic, ...]:
    """Every diagnostic of a spec; empty when it is right."""
    try:
        elaborate(load(path, variant, **config))
    except SpecError as error:
        return error.diagnostics
    return ()


def _yaml(value: Any) -> str:
    """A Python value as YAML flow text (JSON is YAML)."""
    import json

    return value if isinstance(value, str) else json.dumps(value)
