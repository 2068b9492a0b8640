"""What a checkpoint says of its own architecture and sizes, held against what the spec says of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lamina.compiler.weights.demands import Demands, Expected
from lamina.compiler.weights.gguf_header import Items, read_header
from lamina.compiler.weights.safetensors import damaged, load_json
from lamina.schema.diagnostics import Collector, Span

CONFIG = "config.json"
ARCHITECTURE = ("general.architecture", "model_type")  # where GGUF files and Hugging Face's configs name it
MAX_CONFIG = 16 << 20  # bytes
MAX_LIST = 4096  # items that are compared
_CLOSE = 1e-6  # GGUF keeps numbers as float32
_SHOWN = 32  # items of a list in a message


def check_metadata(file: Path, demands: Demands, collector: Collector) -> None:
    """Report an architecture that the spec does not take, else every value that contradicts the config. What the checkpoint does not say
    is not checked. Raises Fault when the metadata cannot be read."""
    expected = demands.metadata or {}
    if not demands.architectures and not expected:
        return
    found = read_metadata(file, (*ARCHITECTURE, *expected))
    named = next((found[key] for key in ARCHITECTURE if key in found), None)
    if demands.architectures and named is not None and named not in demands.architectures:
        takes = " or ".join(f"`{a}`" for a in demands.architectures)
        message = f"{file.name} holds the architecture `{shown(named)}`, and this spec takes {takes}"
        place = demands.span or Span(str(file), 1, 1)
        collector.error("weights-architecture", message, place, f"use a spec of `{shown(named)}`, or another checkpoint")
        return
    for key, value in expected.items():
        if key in found and not _agree(found[key], value.value):
            _contradiction(file, key, found[key], value, collector)


def read_metadata(file: Path, keys: Iterable[str]) -> dict[str, Any]:
    """The values of those keys that the checkpoint has: a GGUF file's own, or those of the config.json beside the weights, in which
    `a.b` is `b` of the object `a`. Raises Fault."""
    if file.suffix == ".gguf":
        header = read_header(file)
        found = {key: header.metadata[key] for key in keys if key in header.metadata}
        short = {key: value for key, value in found.items() if not isinstance(value, Items) or value.count <= MAX_LIST}
        return {key: header.read(value) if isinstance(value, Items) else value for key, value in short.items()}
    config = _config(file.parent / CONFIG)
    values = {key: _inner(config, key) for key in keys}
    return {key: value for key, value in values.items() if value is not None}


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG + 1)
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    if len(text) > MAX_CONFIG:
        raise damaged(path, f"has a config of more than {MAX_CONFIG:,} bytes")
    return load_json(path, text, "JSON", "it")


def _inner(config: Any, key: str) -> Any:
    """The value under a key, else under its parts; None where there is none."""
    while isinstance(config, dict):
        if key in config:
            return config[key]
        first, _, key = key.partition(".")
        config = config.get(first) if key else None
    return None


def _agree(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(_agree, theirs, ours))
    if _is_number(theirs) and _is_number(ours) and float in (type(theirs), type(ours)):
        return abs(theirs) <= sys.float_info.max and math.isclose(theirs, ours, rel_tol=_CLOSE)
    return type(theirs) is type(ours) and bool(theirs == ours)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _contradiction(file: Path, key: str, theirs: Any, ours: Expected, collector: Collector) -> None:
    where = file.name if file.suffix == ".gguf" else CONFIG
    exact = len(ours.entries) == 1 and ours.text == ours.entries[0]
    hint = f"choose the variant of this checkpoint, or --set {ours.text}={shown(theirs)}" if exact else ours.hint
    said = f"`{ours.text}` is {shown(ours.value)}" if ours.entries else f"the spec says {shown(ours.value)}"
    collector.error("weights-metadata", f"`{key}` is {shown(theirs)} in {where}, but {said}", ours.span, hint)


def shown(value: Any) -> str:
    """A value as YAML, on one short line; a float has the digits that a float32 has."""
    if isinstance(value, list):
        items = ("..." if isinstance(item, list | dict) else shown(item) for item in value[:_SHOWN])
        return f"[{', '.join(items)}{', ...' * (len(value) > _SHOWN)}]"
    if isinstance(value, dict):
        return "an object"
    text = str(value).lower() if isinstance(value, bool) else f"{value:.7g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else "?" for c in text)[:80]
