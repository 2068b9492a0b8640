"""Config entries and dims that nothing in the file uses: most often a misspelt name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from lamina.schema.diagnostics import Diagnostic
from lamina.schema.spec import ModelSpec
from lamina.schema.tree import Scalar

_WORD = re.compile(r"[A-Za-z_]\w*")


def unused_names(spec: ModelSpec) -> list[Diagnostic]:
    """A diagnostic for each config entry and dim whose name occurs in no expression, those of other variants among them."""
    config, dims = unused(spec)
    found = [
        Diagnostic("unused-config", f"the config entry `{e.name}` is never used", e.span, "remove it, or use it in the body")
        for e in spec.config
        if e.name in config
    ]
    found += [
        Diagnostic("unused-dim", f"the dim `{n}` is never used", d.span, "remove it, or use it in a shape")
        for n, d in spec.dims.items()
        if n in dims
    ]
    return found


def unused(spec: ModelSpec) -> tuple[set[str], set[str]]:
    """The names of config entries, and of dims, that occur in no expression."""
    declared = (spec.inputs, spec.outputs, spec.state, spec.dims, spec.preprocess, spec.weights, *(e.type for e in spec.config))
    parts = (spec.file.blocks, spec.modules, spec.adapt, spec.body, spec.variants, spec.small, *declared)
    used = {word for part in parts for text in _texts(part) for word in _WORD.findall(text)}
    return {e.name for e in spec.config} - used, set(spec.dims) - used


def _texts(part: Any) -> Iterator[str]:
    """Every text inside models, trees and expressions."""
    if isinstance(part, Scalar):
        yield part.text
    elif isinstance(part, dict):
        for value in part.values():
            yield from _texts(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _texts(value)
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from _texts(getattr(part, name))
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            yield from _texts(getattr(part, field.name))
