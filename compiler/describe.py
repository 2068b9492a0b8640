"""The manifest of a compiled model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.compiler.elaborate import Elaborated
from lamina.compiler.graph import Value
from lamina.compiler.index_bounds import index_bounds
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.summary import parameter_count
from lamina.runtime.manifest import Manifest
from lamina.schema.dims import Dim
from lamina.schema.spec import ModelSpec


def describe(
    spec: ModelSpec, model: Elaborated, source: str, built: Mapping[str, Any], files: Mapping[str, Any], tokenizer: str | None
) -> Manifest:
    """The manifest. `source` names the weights, `built` holds the entries of the targets, `tokenizer` is its file in the bundle."""
    graph = model.graph
    bounds = index_bounds(decompose(graph, "definition"))
    data = {
        "model": spec.model,
        "variant": spec.variant,
        "config": {k: _jsonable(v) for k, v in model.config.items()},
        "version": _version(),
        "summary": spec.summary,
        "inputs": [_tensor(v) | {"below": bounds.get(v.name)} for v in graph.inputs],
        "outputs": [_tensor(v) for v in graph.outputs],
        "dims": {n: {"min": d.min, "opt": d.opt, "max": d.max, "multiple_of": d.multiple_of} for n, d in model.dims.items()},
        "parameters": parameter_count(graph),
        "weights": {"source": source},
        "targets": built,
        "preprocess": {k: p.model_dump() for k, p in spec.preprocess.items()} or None,
        "tokenizer": spec.tokenizer.model_dump() | {"file": tokenizer} if spec.tokenizer and tokenizer else None,
        "files": files,
    }
    return Manifest.model_validate(data, strict=False)


def _tensor(value: Value) -> dict[str, Any]:
    return {"name": value.name, "dtype": value.dtype, "shape": [str(s) if isinstance(s, Dim) else s for s in value.shape]}


def _jsonable(value: Any) -> Any:
    if isinstance(value, list):
        return [_jsonable(v) for v in value]
    return value if isinstance(value, int | float | str | bool | None) else getattr(value, "name", str(value))


def _version() -> str:
    from lamina import __version__

    return __version__
