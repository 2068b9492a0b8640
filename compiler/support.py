"""Would a spec build for a target? Asked of the target itself: what the check accepts builds, though no weight is read.

ONNX Runtime opens the model, TensorRT parses it, PyTorch traces it. `tests/trust/sound.py` holds the answers to what the builders do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.compiler.compile import UNKNOWN, in_blocks
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Graph, Origin
from lamina.compiler.lower import halved, lower, rounded
from lamina.compiler.missing import need_torch
from lamina.compiler.passes.quantize_layers import observed
from lamina.compiler.precision import layer_precisions
from lamina.compiler.provenance import of_inputs
from lamina.compiler.targets.onnx import external_values, to_onnx
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.quantize import Quantizer
from lamina.compiler.weights.shapes import Shapes
from lamina.schema.diagnostics import Diagnostic, Fault, Span, SpecError, did_you_mean
from lamina.schema.dims import Precision
from lamina.schema.spec import ModelSpec

if TYPE_CHECKING:
    import onnx


def check_target(spec: ModelSpec, target: str, precision: Precision = "float32") -> None:
    """Raise SpecError with a diagnostic for each line that the target refuses; MissingDependency where it is not installed.

    `onnx` is asked of ONNX Runtime too, which runs those files from a bundle. `precision` is as in `compile`.
    """
    if target not in _CHECKS:
        hint = did_you_mean(target, _CHECKS) or f"targets are {', '.join(_CHECKS)}"
        raise SpecError([Fault("target", f"there is no target `{target}`", hint=hint).at(Span(str(spec.path), 1, 1))], spec.sources)
    whole = elaborate(spec).graph
    graph = lower(in_blocks(whole, target, Quantizer(None, precision, spec.precision)), target)  # type: ignore[arg-type]
    precisions = layer_precisions(whole, spec.precision, precision)
    if target == "onnxruntime" and (names := observed(graph, precisions)):
        graph = rounded(graph, precisions, dict.fromkeys(names, UNKNOWN))
    if target == "tensorrt":
        graph = halved(graph, precisions)
    found = _CHECKS[target](graph, spec)
    if found:
        raise SpecError(found, spec.sources)


def _in_onnx_runtime(graph: Graph, spec: ModelSpec) -> tuple[Diagnostic, ...]:
    from lamina.compiler.targets.onnxruntime import check_support

    return check_support(_proto(graph), _origins(graph))


def _in_tensorrt(graph: Graph, spec: ModelSpec) -> tuple[Diagnostic, ...]:
    from lamina.compiler.targets.tensorrt import check_support

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(_proto(graph).SerializeToString())
        return check_support(path, origins=of_inputs(spec) | _origins(graph), sources=spec.sources)


def _in_torch(graph: Graph, spec: ModelSpec) -> tuple[Diagnostic, ...]:
    need_torch("the `torch` target")
    from lamina.compiler.targets.torch.export import check_support

    return check_support(graph)


_CHECKS: Mapping[str, Callable[[Graph, ModelSpec], tuple[Diagnostic, ...]]] = {
    "onnx": _in_onnx_runtime,
    "onnxruntime": _in_onnx_runtime,
    "tensorrt": _in_tensorrt,
    "torch": _in_torch,
}


def _proto(graph: Graph) -> onnx.ModelProto:
    """The model, its weights named but without numbers."""
    return to_onnx(graph, {v.name: tensor_of(v, Shapes()) for v in external_values([graph])}, {})


def _origins(graph: Graph) -> dict[str, Origin]:
    """Where each node came from, by the name that it has in the file."""
    return {n.outputs[0].name: n.origin for n in graph.all_nodes()}
