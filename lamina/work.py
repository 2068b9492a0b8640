"""How much multiplying a bundle's experts do: what ONNX Runtime's profile shows, against what the spec says."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.compiler.cost import macs_of
from lamina.compiler.elaborate import Elaborated
from lamina.compiler.op import block_arguments
from lamina.runtime.native import instructions, library
from lamina.schema.diagnostics import Span
from lamina.schema.dims import value_of

Array = np.ndarray[Any, Any]
_PRODUCTS = ("MatMul", "Gemm", "BlockMatMul", "GroupedMatMul")
_SLACK = 1.25  # of the work that is due: a block that applies blocks weights what they make


@dataclass(frozen=True, slots=True)
class Work:
    """Multiply-adds of one step that applies a block, at one point: those that were done, and those that its choices ask for."""

    target: str
    path: str
    span: Span
    done: int
    due: int

    @property
    def passed(self) -> bool:
        return self.done <= _SLACK * self.due


def applies_blocks(model: Elaborated) -> bool:
    """Whether some step applies a block, as sparse experts do."""
    return any(node.op is not None and block_arguments(type(node.op)) for node in model.graph.nodes)


def work_of(file: Path, target: str, inputs: Mapping[str, Array], point: Mapping[str, int], model: Elaborated) -> tuple[Work, ...]:
    """The work of each step that applies a block, as it is when an ONNX file runs on these inputs."""
    nodes = [node for node in model.graph.nodes if node.op is not None and block_arguments(type(node.op))]
    paths = {node.origin.path: node for node in nodes}  # a shared module is applied several times
    due, done = dict.fromkeys(paths, 0), dict.fromkeys(paths, 0)
    for node in nodes:
        due[node.origin.path] += value_of(macs_of(node), point)
    for path, macs in _products(file, inputs):
        owner = next((p for p in paths if path.startswith(f"{p}.")), None)  # not what it does itself, to weight what its blocks make
        if owner is not None:
            done[owner] += macs
    return tuple(Work(target, p, node.origin.span, done[p], due[p]) for p, node in paths.items())


def _products(file: Path, inputs: Mapping[str, Array]) -> Iterator[tuple[str, int]]:
    """The path of every product that the file's run takes, and its multiply-adds."""
    import onnx
    import onnx.inliner
    import onnxruntime

    proto = onnx.load(file, load_external_data=False)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(file.parent))
    known = {
        name: entry.value
        for node in proto.graph.node
        for entry in node.metadata_props
        if entry.key == "lamina.path"
        for name in node.output
    }
    if instructions() in (None, "none"):
        proto = onnx.inliner.inline_local_functions(proto)
    else:
        options.register_custom_ops_library(str(library()))
    paths = _paths(proto.graph.node, known)
    nodes = {node.name: node for node in proto.graph.node if node.op_type in _PRODUCTS}
    fixed = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}  # a profile leaves these inputs out
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    for event in events:
        node = nodes.get(str(event.get("name", "")).removesuffix("_kernel_time"))
        if node is not None and event.get("cat") == "Node":
            given, (made,) = (_shapes(event["args"][f"{side}_type_shape"]) for side in ("input", "output"))
            yield paths[node.name], math.prod(made) * (fixed.get(node.input[0]) or given[0])[-1]


def _paths(nodes: Sequence[Any], known: Mapping[str, str]) -> dict[str, str]:
    """The path of each node, of which some values' are known. What stands for a missing kernel ends with the node that makes its output."""
    found: dict[str, str] = {}
    path = ""
    for node in reversed(nodes):
        found[node.name] = path = next((known[name] for name in node.output if name in known), path)
    return found


def _shapes(entries: Sequence[Mapping[str, Sequence[int]]]) -> list[Sequence[int]]:
    return [shape for entry in entries for shape in entry.values()]
