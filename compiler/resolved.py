"""The spec as it was compiled: one variant and every override written into `config`, imported blocks copied beside it."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from lamina.schema.spec import File, ModelSpec, Override
from lamina.schema.tree import Node, Scalar
from lamina.schema.tree import plain as plain_data
from lamina.schema.types import is_declaration


def resolved_files(spec: ModelSpec) -> dict[str, str]:
    """`spec.yaml` and `blocks/*.yaml`: compiled again, they give the same model without the library or the variant's name."""
    data = _load(spec.sources[str(spec.path)])
    config = data.get("config") or {}
    for override in (*spec.variants.get(spec.variant or "", ()), *spec.overrides):
        config[override.name] = _written(config[override.name], override)
    data.pop("variants", None)
    data.pop("published", None)
    files: dict[str, str] = {}
    if spec.file.imports:
        data["use"] = [_copy(f, spec, files, "blocks/") for f in spec.file.imports]
    return {"spec.yaml": _dump(data), **files}


def _written(declared: Any, override: Override) -> Any:
    """The value in the place of the default, with the declared type kept."""
    if isinstance(declared, str) and is_declaration(declared):
        return f"{declared.partition('=')[0].strip()} = {_text(override.value)}"
    return plain_data(override.value)


def _text(node: Node) -> str:
    """The value as an expression."""
    if isinstance(node, Scalar):
        return repr(node.text) if isinstance(node.value, str) and not node.plain else node.text or "null"
    return "[" + ", ".join(_text(i) for i in getattr(node, "items", ())) + "]"


def _copy(file: File, spec: ModelSpec, files: dict[str, str], folder: str) -> str:
    """Copy an imported file (and what it imports) under `blocks/`; returns the import to write."""
    name = file.name.rsplit("/", 1)[-1]
    path = f"blocks/{name}"
    if path not in files:
        files[path] = ""
        data = _load(spec.sources[file.name])
        if file.imports:
            data["use"] = [_copy(f, spec, files, "") for f in file.imports]
        files[path] = _dump(data)
    return f"./{folder}{name}"


def _load(text: str) -> Any:
    return _yaml().load(text)


def _dump(data: Any) -> str:
    out = io.StringIO()
    _yaml().dump(data, out)
    return out.getvalue()


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 140
    return yaml
