"""The ONNX target: a graph of operators becomes a ModelProto whose weights are references into one external file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.compiler.elaborate.uninterrupted import uninterrupted
from lamina.compiler.graph import STANDARD, Attribute, Constant, Derived, Graph, Node, Parameter
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.protos import all_nodes
from lamina.compiler.provenance import PATH, SOURCE, Places
from lamina.schema.dims import Dim, TensorType

if TYPE_CHECKING:
    import onnx

    from lamina.compiler.weights.tensor import Tensor

OPSET = 24
IR_VERSION = 11
EMBED_BYTES = 1024  # constants up to this size stay in the file; larger ones go to the weight file


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a tensor stands in the weight file."""

    offset: int
    length: int


def external_values(graphs: Sequence[Graph]) -> list[Parameter | Constant | Derived]:
    """What the weight file holds for these graphs: every parameter, derived tensor and large constant, each name once."""
    found: dict[str, Parameter | Constant | Derived] = {}
    for graph in graphs:
        for value in graph.initializers():
            if not (isinstance(value, Constant) and value.array.nbytes <= EMBED_BYTES):
                found.setdefault(value.name, value)
    return list(found.values())


@uninterrupted()
def to_onnx(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    placements: Mapping[str, Placement],
    location: str = "weights.bin",
    metadata: Mapping[str, str] | None = None,
    folder: PurePath | None = None,
) -> onnx.ModelProto:
    """The ModelProto. `tensors` and `placements` are by value name; with no placement an initializer points to offset 0.

    Nodes say which line of which file they come from; files in `folder` are named as seen from there.
    """
    import onnx

    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="lamina")
    model.opset_import.add(domain="", version=OPSET)
    for domain in sorted({domain for node in graph.all_nodes() for domain in _domains(node)} - {STANDARD}):
        model.opset_import.add(domain=domain, version=1)
    for key, text in sorted((metadata or {}).items()):
        model.metadata_props.add(key=key, value=text)
    for fixed in {value.name: value for value in graph.initializers()}.values():  # a part of a weight may be read as several values
        _initializer(model.graph.initializer.add(), fixed, tensors, placements, location)
    places = Places(folder)
    _graph(model.graph, graph, places)
    model.functions.extend(_functions(graph, places))
    return model


def _domains(node: Node) -> set[str]:
    inside = () if node.function is None else node.function.all_nodes()
    return {node.domain, *(inner.domain for inner in inside)}


def _functions(graph: Graph, places: Places) -> list[onnx.FunctionProto]:
    """What defines our own operators, each once, though many steps may call it: its nodes name them all."""
    calls: dict[str, tuple[onnx.FunctionProto, list[Node]]] = {}
    for node in graph.all_nodes():
        if node.function is not None:
            function = _function(node)
            calls.setdefault(function.overload, (function, []))[1].append(node)
    for function, nodes in calls.values():
        for inner in all_nodes(function.node):
            _note(inner, nodes, places)
    return [function for _, (function, _) in sorted(calls.items())]


def _note(proto: Any, nodes: Sequence[Node], places: Places) -> None:
    """Say which steps a node comes from, each place and path on a line of its own."""
    origins = [node.origin for node in nodes]
    for key, texts in ((SOURCE, map(places.of, origins)), (PATH, (origin.path for origin in origins))):
        proto.metadata_props.add(key=key, value="\n".join(dict.fromkeys(texts)))


def _function(node: Node) -> onnx.FunctionProto:
    """What defines one of our own operators. Functions of one name are told apart by what they do."""
    import onnx

    body = node.function
    assert body is not None
    proto = onnx.FunctionProto(name=node.op_type, domain=node.domain, attribute=sorted(node.attributes))
    proto.input.extend(value.name for value in body.inputs)
    proto.output.extend(value.name for value in body.outputs)
    for domain in sorted(_domains(node) - {node.domain}):
        proto.opset_import.add(domain=domain, version=OPSET if domain == STANDARD else 1)
    for value in body.initializers():
        if isinstance(value, Constant):
            constant = proto.node.add(op_type="Constant", name=value.name, output=[value.name])
            _attribute(constant.attribute.add(), "value", value.array)
    for inner in body.nodes:
        _node(proto.node.add(), inner, None)
    proto.overload = hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()[:12]
    return proto


def _graph(proto: Any, graph: Graph, places: Places | None) -> None:
    proto.name = graph.name
    for value in graph.inputs:
        _value_info(proto.input.add(), value.name, value.type)
    for value in graph.outputs:
        _value_info(proto.output.add(), value.name, value.type)
    for node in graph.nodes:
        _node(proto.node.add(), node, places)


def _value_info(info: Any, name: str, type_: TensorType | None) -> None:
    assert type_ is not None
    info.name = name
    info.type.tensor_type.elem_type = ONNX_DTYPE[type_.dtype]
    info.type.tensor_type.shape.SetInParent()
    for size in type_.shape:
        dim = info.type.tensor_type.shape.dim.add()
        if isinstance(size, Dim):
            dim.dim_param = str(size)
        else:
            dim.dim_value = size


def _initializer(
    proto: Any, value: Parameter | Constant | Derived, tensors: Mapping[str, Tensor], placements: Mapping[str, Placement], location: str
) -> None:
    proto.name = value.name
    if isinstance(value, Constant) and value.name not in placements and value.name not in tensors:
        assert value.type is not None
        proto.data_type = ONNX_DTYPE[value.type.dtype]
        proto.dims.extend(value.array.shape)
        proto.raw_data = np.ascontiguousarray(value.array).tobytes()
        return
    tensor, place = tensors[value.name], placements.get(value.name, Placement(0, 0))
    proto.data_type = ONNX_DTYPE[tensor.dtype]
    proto.dims.extend(tensor.shape)
    proto.data_location = 1  # external
    for key, text in (("location", location), ("offset", str(place.offset)), ("length", str(place.length or tensor.nbytes))):
        proto.external_data.add(key=key, value=text)


def _node(proto: Any, node: Node, places: Places | None) -> None:
    proto.op_type, proto.domain = node.op_type, node.domain
    if node.function is not None:
        proto.overload = _function(node).overload
    proto.name = node.outputs[0].name
    proto.input.extend("" if v is None else v.name for v in node.inputs)
    proto.output.extend(v.name for v in node.outputs)
    for key in sorted(node.attributes):
        _attribute(proto.attribute.add(), key, node.attributes[key])
    names = ("then_branch", "else_branch") if node.op_type == "If" else ("body",)
    for name, body in zip(names, node.bodies, strict=False):
        _graph(proto.attribute.add(name=name, type=5).g, body, places)
    if places is not None:
        _note(proto, [node], places)


def _attribute(proto: Any, key: str, value: Attribute) -> None:
    proto.name = key
    if isinstance(value, bool | int | np.integer):
        proto.type, proto.i = 2, int(value)
    elif isinstance(value, float):
        proto.type, proto.f = 1, value
    elif isinstance(value, str):
        proto.type, proto.s = 3, value.encode()
    elif isinstance(value, np.ndarray):
        from onnx import numpy_helper

        proto.type = 4
        proto.t.CopyFrom(numpy_helper.from_array(value))
    else:
        _sequence(proto, value)


def _sequence(proto: Any, value: Sequence[Any]) -> None:
    if value and isinstance(value[0], str):
        proto.type = 8
        proto.strings.extend(v.encode() for v in value)
    elif value and isinstance(value[0], float):
        proto.type = 6
        proto.floats.extend(value)
    else:
        proto.type = 7
        proto.ints.extend(value)
