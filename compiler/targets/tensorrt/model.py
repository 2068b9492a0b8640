"""What an ONNX file refers to: its external weight files, read without loading a weight."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamina.compiler.targets.tensorrt.process import EngineError


def external_files(onnx_file: Path) -> dict[str, int]:
    """The weight files beside the model, by name, and how many bytes of each it refers to."""
    import onnx

    sizes: dict[str, int] = {}
    for tensor in _tensors(onnx.load(onnx_file, load_external_data=False).graph):
        entries = {e.key: e.value for e in tensor.external_data}
        if "location" in entries:
            name = _checked(entries["location"], onnx_file)
            sizes[name] = max(sizes.get(name, 0), int(entries.get("offset", 0)) + int(entries.get("length", 0)))
    return dict(sorted(sizes.items()))


def _checked(location: str, onnx_file: Path) -> str:
    path = Path(location)
    if path.is_absolute() or ".." in path.parts:
        raise EngineError(f"{onnx_file} names the weight file `{location}`, which is outside its folder")
    return location


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph and of the graphs inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)
