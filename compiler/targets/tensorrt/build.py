"""Build an engine from an ONNX file, or find it in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.compiler.graph import Origin
from lamina.compiler.targets.tensorrt import diagnose
from lamina.compiler.targets.tensorrt.cache import EngineCache, default_folder, digest
from lamina.compiler.targets.tensorrt.library import Library, find
from lamina.compiler.targets.tensorrt.model import Model
from lamina.compiler.targets.tensorrt.process import WORKER, EngineError, Progress, run
from lamina.schema.diagnostics import SpecError
from lamina.schema.dims import Size, value_of

Input = tuple[str, str, Sequence[Size | str]]  # name, dtype, shape: each size a number, a dim's name, or a symbolic size
Range = tuple[int, int, int]  # min, opt, max
TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class Engine:
    """A serialized engine in the cache. `key` is the sha256 of all that it was built from."""

    path: Path
    key: str
    library: Library
    cached: bool


def build(
    onnx_file: Path,
    inputs: Sequence[Input],
    dims: Mapping[str, Range],
    *,
    cache: Path | None = None,
    compute_capabilities: Sequence[str] = (),
    library: str | None = None,
    origins: Mapping[str, Origin] | None = None,
    sources: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
) -> Engine:
    """The engine of an ONNX file (with its weights beside it) for the declared ranges of its dims.

    `compute_capabilities` narrows the GPUs it runs on (`8.6`); none means all that the library builds for by default. `origins` leads from
    ONNX node names to the spec. `timeout` is in seconds. Raises `SpecError` (code `tensorrt`) where the library refuses the graph,
    `MissingDependency` where there is no library, `EngineError` where it breaks.
    """
    found, model = find(library), Model(onnx_file)
    places = diagnose.Places(origins or {}, sources or {}, model.loops())
    if wide := diagnose.float64(found, model.float64_names(), places):
        raise SpecError(wide, places.sources)
    request = {"profile": profile(inputs, dims), "capabilities": sorted(set(compute_capabilities))}
    key, store = _key(found, model, request), EngineCache(cache or default_folder())
    if (kept := store.find(key)) is not None:
        return Engine(kept, key, found, cached=True)
    with store.writing() as part:
        _check(found, run(found, {"onnx": str(model.path), "engine": str(part), **request}, timeout, progress), places)
        return Engine(store.keep(key, part), key, found, cached=False)


def profile(inputs: Sequence[Input], dims: Mapping[str, Range]) -> dict[str, list[list[int]]]:
    """Min, opt and max shapes of every input that has a dynamic size. A dim has one range, wherever it occurs."""
    corners = [{name: extent[i] for name, extent in dims.items()} for i in range(3)]
    return {name: _shapes(shape, corners) for name, _, shape in inputs if not all(isinstance(size, int) for size in shape)}


def _shapes(shape: Sequence[Size | str], corners: Sequence[Mapping[str, int]]) -> list[list[int]]:
    low, opt, high = ([env[s] if isinstance(s, str) else value_of(s, env) for s in shape] for env in corners)
    # A size may fall where its dims grow (`64 - N`), so the smallest one need not come from the smallest dims.
    return [list(map(min, low, high)), opt, list(map(max, low, high))]


def _key(library: Library, model: Model, request: Mapping[str, Any]) -> str:
    if not model.has_weights:
        raise EngineError(f"{model.path.name} has no weights, and an engine is built around them")
    parts = {
        "library": [library.name, library.version],
        "worker": digest(WORKER),
        "model": model.fingerprint(),
        "weights": {name: digest(model.path.parent / name) for name in model.weight_files},
        **request,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check(library: Library, answer: Mapping[str, Any], places: diagnose.Places) -> None:
    """Raise unless the answer is an engine."""
    if "capabilities" in answer:
        raise EngineError(f"{library} builds for compute capabilities {', '.join(answer['capabilities'])} only")
    if "broken" in answer:
        raise EngineError(f"{library} could not write the engine: {answer['broken']}")
    if "failed" in answer:
        raise SpecError([diagnose.failed(library, answer["failed"], places)], places.sources)
    if answer["refused"]:
        raise SpecError(diagnose.refused(library, answer["refused"], places), places.sources)
