"""The compiler's Python face: load a spec, check it, compile it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.compiler.compile import compile
from lamina.compiler.elaborate import elaborate
from lamina.schema.diagnostics import Collector, Diagnostic, SpecError
from lamina.schema.read import read_spec, read_what_stands
from lamina.schema.spec import ModelSpec

__all__ = ["check", "compile", "load"]


def load(path: str | Path, variant: str | None = None, **config: Any) -> ModelSpec:
    """Read a spec file, choosing a variant and config values. Raises SpecError with every diagnostic."""
    return read_spec(path, variant, {k: _yaml(v) for k, v in config.items()})


def check(path: str | Path, variant: str | None = None, **config: Any) -> tuple[Diagnostic, ...]:
    """Every diagnostic of a spec; empty when it is right."""
    collector = Collector()
    spec = read_what_stands(path, collector, variant, {k: _yaml(v) for k, v in config.items()})
    try:
        if spec is not None:
            elaborate(spec, collector)
        collector.raise_if_any()
    except SpecError as error:
        return error.diagnostics
    return ()


def _yaml(value: Any) -> str:
    """A Python value as YAML flow text (JSON is YAML)."""
    import json

    return value if isinstance(value, str) else json.dumps(value)
