"""The manifest of a compiled model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lamina.compiler.elaborate import Elaborated
from lamina.compiler.graph import Graph, Value
from lamina.compiler.index_bounds import index_bounds
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.summary import parameter_count
from lamina.runtime.manifest import Manifest
from lamina.schema.dims import INTEGERS, Dim, Symbol
from lamina.schema.spec import ModelSpec


def describe(
    spec: ModelSpec,
    model: Elaborated,
    source: str,
    built: Mapping[str, Any],
    files: Mapping[str, Any],
    tokenizer: Mapping[str, Any] | None,
    adapters: Sequence[Mapping[str, Any]],
) -> Manifest:
    """The manifest. `source` names the weights, `built` holds the entries of the targets, `tokenizer` its file and how it prompts,
    `adapters` what is known of each."""
    graph = model.graph
    names = [value.name for value in graph.inputs]
    bounds = index_bounds(decompose(_on_integers(graph), "definition"))
    data = {
        "model": spec.model,
        "variant": spec.variant,
        "config": {k: _jsonable(v) for k, v in model.config.items()},
        "version": _version(),
        "summary": spec.summary,
        "inputs": [_tensor(v) | {"below": bounds.get(v.name)} for v in graph.inputs],
        "outputs": [_tensor(v) for v in graph.outputs],
        "dims": {n: _range(d) for n, d in model.dims.items()},
        "states": [{"name": s.name, "initial": s.initial} for s in graph.states],
        "adapters": list(adapters),
        "parameters": parameter_count(graph),
        "weights": {"source": source},
        "targets": built,
        "preprocess": {k: p.model_dump() for k, p in model.preprocess.items() if k in names} or None,
        "tokenizer": _tokenizer(spec, names, tokenizer),
        "files": files,
    }
    return Manifest.model_validate(data, strict=False)


def _on_integers(graph: Graph) -> Graph:
    """The ops that integers go into: only they can take an input for an index."""
    nodes = tuple(n for n in graph.nodes if any(v is not None and v.type is not None and v.dtype in INTEGERS for v in n.inputs))
    return replace(graph, nodes=nodes, outputs=())


def _tokenizer(spec: ModelSpec, inputs: Sequence[str], found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What feeds the inputs that this config has. Without ids there is nothing to feed."""
    if spec.tokenizer is None or found is None or spec.tokenizer.ids not in inputs:
        return None
    fed = {key: name if name in inputs else None for key, name in (("mask", spec.tokenizer.mask), ("types", spec.tokenizer.types))}
    return spec.tokenizer.model_dump() | fed | dict(found)


def _tensor(value: Value) -> dict[str, Any]:
    return {"name": value.name, "dtype": value.dtype, "shape": [str(s) if isinstance(s, Dim) else s for s in value.shape]}


def _range(dim: Symbol) -> dict[str, Any]:
    most = None if dim.at_most is None else str(dim.at_most)
    return {"min": dim.min, "opt": dim.opt, "max": dim.max, "multiple_of": dim.multiple_of, "at_most": most}


def _jsonable(value: Any) -> Any:
    if isinstance(value, list):
        return [_jsonable(v) for v in value]
    return value if isinstance(value, int | float | str | bool | None) else getattr(value, "name", str(value))


def _version() -> str:
    from lamina import __version__

    return __version__
