"""The reference that targets are held against: the unfused definition, in PyTorch float64 where it is installed, else onnx's evaluator."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from lamina.compiler.blocked import Blocked
from lamina.compiler.compile import weight_source
from lamina.compiler.elaborate import Elaborated
from lamina.compiler.graph import Graph
from lamina.compiler.passes.block_weights import block_weights
from lamina.compiler.passes.canonical_names import canonical_names
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.passes.deduplicate import deduplicate
from lamina.compiler.passes.drop_identity import drop_identity
from lamina.compiler.passes.fold import fold
from lamina.compiler.weights.quantize import Quantizer, Rounded
from lamina.compiler.weights.tensor import Weights
from lamina.schema.diagnostics import Diagnostic, Span, SpecError
from lamina.schema.dims import Precision
from lamina.schema.spec import ModelSpec

Array = np.ndarray[Any, Any]


class Reference(ABC):
    """Computes a graph in the plainest way."""

    name: str

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self.graph, self.weights = graph, weights

    def outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The graph's outputs by name."""
        return self.values(inputs, [v.name for v in self.graph.outputs])

    @abstractmethod
    def values(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Values by name, intermediate ones too."""


@final
class TorchReference(Reference):
    """PyTorch, in float64."""

    name = "PyTorch, float64, unfused"

    def values(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        from lamina.compiler.targets.torch import run_values

        made = {v.name for n in self.graph.nodes for v in n.outputs}
        return run_values(self.graph, self.weights, inputs, [n for n in names if n in made])


@final
class OnnxReference(Reference):
    """onnx's reference evaluator, in the model's own precision."""

    name = "onnx's reference evaluator, unfused"

    def values(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        from onnx import numpy_helper
        from onnx.reference import ReferenceEvaluator

        from lamina.compiler.targets.onnx import to_onnx
        from lamina.compiler.weights.derived import tensor_of

        tensors = {v.name: tensor_of(v, self.weights) for v in self.graph.initializers()}
        proto = to_onnx(self.graph, tensors, {})
        arrays = [numpy_helper.from_array(np.ascontiguousarray(t.numpy()), name) for name, t in tensors.items()]
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(arrays)
        made = {o for n in proto.graph.node for o in n.output}
        wanted = [n for n in names if n in made]
        declared = {o.name for o in proto.graph.output}
        for name in wanted:
            if name not in declared:
                proto.graph.output.add().name = name
        return dict(zip(wanted, ReferenceEvaluator(proto).run(wanted, dict(inputs)), strict=True))


def reference(
    spec: ModelSpec, model: Elaborated, bundle: Path, source: str, checkpoint: Path | str | None, precision: Precision | None = None
) -> Reference:
    """The reference for a bundle whose manifest names `source` as its weights, rounded as for a target of that precision if one is given.

    Raises SpecError.
    """
    graph = drop_identity(decompose(model.graph, "definition"))
    if checkpoint is not None or source.startswith("seed:"):
        seed = int(source.removeprefix("seed:")) if checkpoint is None else 0
        found = weight_source(spec, model, checkpoint, seed).weights
        assert found is not None
        return _best()(graph, found if precision is None else _rounded(model.graph, Quantizer(found, precision, spec.precision)))
    if precision is not None:
        message = f"the bundle's weights came from `{source}`, and its target onnxruntime holds some rounded"
        raise SpecError([Diagnostic("weights", message, Span(str(spec.path), 1, 1), "give the checkpoint with --weights")], spec.sources)
    return _from_bundle(spec, graph, bundle, source)


def _rounded(graph: Graph, quantizer: Quantizer) -> Weights:
    blocked = block_weights(graph, quantizer.layout)
    values = (value for node in blocked.all_nodes() for value in node.reads())
    assert quantizer.weights is not None
    return Rounded(quantizer.weights, {value.name: value.layout for value in values if isinstance(value, Blocked)})


def _from_bundle(spec: ModelSpec, graph: Graph, bundle: Path, source: str) -> Reference:
    from lamina.compiler.weights.bundled import Bundled, with_bundled_leaves

    file = next((bundle / f for f in ("model.onnx", "model.ort.onnx") if (bundle / f).is_file()), None)
    folded = canonical_names(deduplicate(fold(graph)))
    try:
        if file is None:
            raise KeyError("an ONNX file")
        bundled = Bundled(file)
        return _best()(with_bundled_leaves(folded, bundled), bundled)
    except KeyError as error:
        message = f"the bundle's weights came from `{source}`, and it does not hold {error} in its own form"
        raise SpecError(
            [Diagnostic("weights", message, Span(str(spec.path), 1, 1), "give the checkpoint with --weights")], spec.sources
        ) from error


def _best() -> type[TorchReference | OnnxReference]:
    return TorchReference if importlib.util.find_spec("torch") else OnnxReference
