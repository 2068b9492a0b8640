"""Would TensorRT take this graph? Parsed, not built, and without its weights."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lamina.compiler.graph import Origin
from lamina.compiler.targets.tensorrt import diagnose
from lamina.compiler.targets.tensorrt.library import find
from lamina.compiler.targets.tensorrt.model import external_files
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
    found = find(library)
    with _parsable(onnx_file) as model:
        answer = run(found, {"onnx": str(model), "engine": None, "profile": {}, "capabilities": []}, timeout)
    return diagnose.refused(found, answer["refused"], diagnose.Places(origins or {}, sources or {}))


@contextlib.contextmanager
def _parsable(onnx_file: Path) -> Iterator[Path]:
    """The model itself where its weights exist, else a copy of it beside empty ones: files of holes, which the parser maps, not reads."""
    sizes = external_files(onnx_file)
    if all((onnx_file.parent / name).exists() for name in sizes):
        yield onnx_file.resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, size in sizes.items():
            weights = Path(folder) / name
            weights.parent.mkdir(parents=True, exist_ok=True)
            with weights.open("wb") as file:
                file.truncate(size)
        yield Path(shutil.copy(onnx_file, Path(folder) / "model.onnx"))
