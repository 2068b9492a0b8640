"""Can a target take every op of a spec? Asked of the target itself, without building anything."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lamina.compiler.elaborate import elaborate
from lamina.compiler.lower import lower
from lamina.compiler.targets.onnx import external_values, to_onnx
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.shapes import Shapes
from lamina.schema.diagnostics import Fault, Span, SpecError, did_you_mean
from lamina.schema.spec import ModelSpec

_TARGETS = ("onnx", "onnxruntime", "tensorrt", "torch")


def check_target(spec: ModelSpec, target: str) -> None:
    """Raise SpecError with a diagnostic for each line that the target refuses."""
    if target not in _TARGETS:
        hint = did_you_mean(target, _TARGETS) or f"targets are {', '.join(_TARGETS)}"
        raise SpecError([Fault("target", f"there is no target `{target}`", hint=hint).at(Span(str(spec.path), 1, 1))], spec.sources)
    model = elaborate(spec)
    graph = lower(model.graph, target)  # type: ignore[arg-type]
    if target != "tensorrt":
        return
    from lamina.compiler.targets.tensorrt import check_support

    tensors = {v.name: tensor_of(v, Shapes()) for v in external_values([graph])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(to_onnx(graph, tensors, {}).SerializeToString())
        found = check_support(path, origins={n.outputs[0].name: n.origin for n in graph.nodes}, sources=spec.sources)
    if found:
        raise SpecError(found, spec.sources)
