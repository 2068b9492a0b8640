"""Would TensorRT take this graph? Parsed, not built, and without its weights."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lamina.compiler.graph import Origin
from lamina.compiler.targets.tensorrt import diagnose
from lamina.compiler.targets.tensorrt.library import find
from lamina.compiler.targets.tensorrt.model import Model
from lamina.compiler.targets.tensorrt.process import run
from lamina.schema.diagnostics import Diagnostic

TIMEOUT = 120.0


def check_support(
    onnx_file: Path,
    *,
    library: str | None = None,
    origins: Mapping[str, Origin] | None = None,
    sources: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> tuple[Diagnostic, ...]:
    """What the library refuses of an ONNX file, in the order of the spec's lines; nothing if it takes the whole graph.

    Weight files that the model names need not exist. Raises `MissingDependency` and `EngineError` as `build` does.
    """
    found, model = find(library), Model(onnx_file)
    with _parsable(model) as path:
        answer = run(found, {"onnx": str(path), "engine": None, "profile": {}, "capabilities": []}, timeout)
    places = diagnose.Places(origins or {}, sources or {})
    return (*diagnose.float64(found, model.float64_names(), places), *diagnose.refused(found, answer["refused"], places))


@contextlib.contextmanager
def _parsable(model: Model) -> Iterator[Path]:
    """The model itself where its weights exist, else a copy beside empty ones."""
    if model.has_weights:
        yield model.path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield model.without_weights(Path(folder))
