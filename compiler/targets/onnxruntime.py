"""Would ONNX Runtime take this model? The runtime itself is asked: it opens the model, without its weights, on the CPU.

Which operators it computes depends on their dtypes, on the functions that it puts in an operator's place and on the casts that it adds
around one. Only a session knows all that, and opening one costs less than reading any table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.compiler.graph import Origin
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.protos import all_graphs
from lamina.compiler.provenance import mentioned
from lamina.schema.diagnostics import Diagnostic, Span

if TYPE_CHECKING:
    import onnx

CODE = "onnxruntime"
_DTYPES = {number: name for name, number in ONNX_DTYPE.items()}
_SHAPES = "ShapeInferenceError"
_SILENT = 4  # log severity: what goes wrong is in the exception


def check_support(model: onnx.ModelProto, origins: Mapping[str, Origin]) -> tuple[Diagnostic, ...]:
    """What ONNX Runtime refuses of a model, in the order of its nodes; nothing if it opens the whole. External weights are not read.

    `origins` leads from node names to the spec. Each step is named once for the dtypes that it reads.
    """
    bare = _without_weights(model)
    whole = refusal(bare)
    if whole is None:
        return ()
    lacking: dict[tuple[Span, str], list[str]] = {}
    paths: dict[Span, str] = {}
    for node, dtypes in _refused(bare):
        origin = origins[node.name]
        paths.setdefault(origin.span, origin.path)
        lacking.setdefault((origin.span, dtypes), []).append(f"`{node.op_type}`")
    said = [_lacks(span, _listed(operators), dtypes, paths[span]) for (span, dtypes), operators in lacking.items()]
    named = origins.get(mentioned(whole, origins))
    place = named or next(iter(origins.values()), Origin(Span("model", 1, 1), ""))
    path = f" (in `{named.path}`)" if named else ""
    return tuple(said) or (Diagnostic(CODE, f"{_title()} cannot open the model: {whole}{path}", place.span),)


def _lacks(span: Span, operators: str, dtypes: str, path: str) -> Diagnostic:
    message = f"{_title()} has no kernel for {operators} of {dtypes} on the CPU, which this step needs (in `{path}`)"
    return Diagnostic(CODE, message, span, "convert what it reads with cast(x, 'float32'), or compile it for `torch`")


def _listed(operators: Iterable[str]) -> str:
    *most, last = dict.fromkeys(operators)
    return f"{', '.join(most)} or {last}" if most else last


def refusal(model: onnx.ModelProto) -> str | None:
    """Why ONNX Runtime does not open a model on the CPU; None if it does."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, _SILENT
    state = ort.capi.onnxruntime_pybind11_state
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except (state.NotImplemented, state.InvalidGraph, state.InvalidArgument, state.Fail, state.RuntimeException) as error:
        return str(error)
    return None


def session_of(model: onnx.ModelProto, folder: Path, values: Sequence[str]) -> Any:
    """A session without graph optimisation that gives these values besides the outputs; weights are read from the folder."""
    import onnx
    import onnxruntime as ort

    from lamina.runtime.native import library

    known = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(values) if name not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    if (kernels := library()) is not None:
        options.register_custom_ops_library(str(kernels))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _title() -> str:
    import onnxruntime

    return f"ONNX Runtime {onnxruntime.__version__}"


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose external tensors are inputs."""
    from onnx import ModelProto, TensorProto, helper

    bare = ModelProto()
    bare.CopyFrom(model)
    graph = bare.graph
    outside = [t for t in graph.initializer if t.data_location == TensorProto.EXTERNAL]
    graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in outside)
    for tensor in outside:
        graph.initializer.remove(tensor)
    return bare


def _refused(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, str]]:
    """The nodes for which there is no kernel, so that they do not open alone, each with the dtypes that it reads."""
    from onnx import helper, shape_inference

    graph = shape_inference.infer_shapes(model).graph
    constants = {t.name: t for t in graph.initializer}
    types = {v.name: v for inner in all_graphs(graph) for v in (*inner.value_info, *inner.input)}
    types |= {n: helper.make_tensor_value_info(n, t.data_type, t.dims) for n, t in constants.items()}
    seen: dict[Any, bool] = {}
    for node in (n for inner in all_graphs(graph) for n in inner.node if not any(a.HasField("g") for a in n.attribute)):
        used = [name for name in dict.fromkeys(node.input) if name]
        if not types.keys() >= set(used):
            continue  # what it reads is of no known type, as something before it is wrong
        read = [types[name].type.tensor_type.elem_type for name in used]
        key = (node.domain, node.op_type, *read, *(a.SerializeToString() for a in node.attribute))
        if key not in seen:
            reason = refusal(_alone(model, node, [types[n] for n in used], [constants[n] for n in used if n in constants]))
            seen[key] = reason is not None and _SHAPES not in reason  # shapes that do not fit are no lack of a kernel
        if seen[key]:
            yield node, " and ".join(dict.fromkeys(_DTYPES[d] for d in read))


def _alone(model: onnx.ModelProto, node: onnx.NodeProto, inputs: list[Any], constants: list[Any]) -> onnx.ModelProto:
    """A model of one node."""
    from onnx import GraphProto, ModelProto, ValueInfoProto

    outputs = [ValueInfoProto(name=name) for name in node.output if name]
    graph = GraphProto(name="node", node=[node], input=inputs, output=outputs, initializer=constants)
    return ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
