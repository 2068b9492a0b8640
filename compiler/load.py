"""Reading a spec with the compiler at hand: what the reader finds wrong does not keep the elaborator from finding more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lamina.compiler.elaborate import elaborate
from lamina.schema.diagnostics import Collector
from lamina.schema.read import read_what_stands
from lamina.schema.spec import ModelSpec


def load_spec(path: str | Path, variant: str | None = None, overrides: Mapping[str, str] | None = None, small: bool = False) -> ModelSpec:
    """Read a model file; `overrides` are config values as YAML text. Raises SpecError, with every diagnostic, if it cannot be read."""
    collector = Collector()
    spec = read_what_stands(path, collector, variant, overrides, small)
    if spec is not None and collector.diagnostics:
        elaborate(spec, collector)
    collector.raise_if_any()
    assert spec is not None
    return spec
