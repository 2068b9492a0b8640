"""Every lowering against onnx's own backend node tests."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import AttributeProto, helper, numpy_helper

from lamina.compiler.graph import Constant, Graph, Node, Origin, Value
from lamina.compiler.targets.torch import to_module
from lamina.compiler.targets.torch.arrays import from_numpy, to_numpy
from lamina.compiler.targets.torch.registry import known
from lamina.schema.diagnostics import Span, SpecError
from lamina.schema.dims import DTYPES, TensorType

ORIGIN = Origin(Span("onnx", 1, 1), "")
LAST_PLACES = {"bfloat16": 2 * 2**-7, "float16": 2 * 2**-10}  # two units in the last place
HOST_INTEGERS = 64  # integer inputs up to this size are also tried as constants, which is how graphs give axes and shapes


def _cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        from onnx.backend.test.loader import load_model_tests

        return [case for case in load_model_tests(kind="node") if case.model is not None and case.model.graph.node]


def _dtype(element: int) -> str:
    return str(helper.tensor_dtype_to_np_dtype(element).name)


def _is_tensor(info: onnx.ValueInfoProto) -> bool:
    """Whether a graph of ours can hold the value: a tensor (no sequence, no optional) of one of our dtypes."""
    kind = info.type.WhichOneof("value")
    element = info.type.tensor_type.elem_type
    return kind == "tensor_type" and element != onnx.TensorProto.STRING and _dtype(element) in DTYPES


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes, those of bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _tensors(graph: onnx.GraphProto) -> bool:
    """Whether all that goes in and out is a tensor, of bodies too: they need not say."""
    said = [info for info in (*graph.input, *graph.output) if info.type.WhichOneof("value")]
    bodies = [a.g for n in graph.node for a in n.attribute if a.type == AttributeProto.GRAPH]
    return all(map(_is_tensor, said)) and all(map(_tensors, bodies))


def _expressible(model: onnx.ModelProto) -> bool:
    attributes = [a for n in _nodes(model.graph) for a in n.attribute]
    references = any(a.ref_attr_name or a.type == AttributeProto.GRAPHS for a in attributes)
    casts = [a.i for a in attributes if a.name in ("to", "dtype", "output_datatype")]
    return _tensors(model.graph) and not (references or model.functions) and all(_dtype(code) in DTYPES for code in casts)


def _current(model: onnx.ModelProto) -> bool:
    """Whether each node is still written that way today: earlier opsets had attributes where there are inputs now."""
    return model.graph.name != "test_scan_sum" and all(
        {a.name for a in n.attribute} <= set(onnx.defs.get_schema(n.op_type).attributes) for n in _nodes(model.graph)
    )


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    return tuple(value) if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


def _graph(model: onnx.ModelProto, constants: dict[str, np.ndarray[Any, Any]]) -> Graph:
    """The model as a graph of ours, some inputs being known at compile time."""
    return _read(model.graph, {name: Constant(name, TensorType(a.dtype.name, a.shape), a) for name, a in constants.items()})


def _read(graph: onnx.GraphProto, values: Mapping[str, Value]) -> Graph:
    """A graph that may read these values of its surroundings."""
    values = dict(values)
    inputs = tuple(Value(i.name, _type(i)) for i in graph.input if i.name not in values)
    values.update((v.name, v) for v in inputs)
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        values[tensor.name] = Constant(tensor.name, TensorType(array.dtype.name, array.shape), array)
    nodes = []
    for node in graph.node:
        arguments = tuple(values[name] if name else None for name in node.input)
        bodies = [_read(a.g, values) for a in node.attribute if a.type == AttributeProto.GRAPH]
        results = tuple(Value(name) for name in node.output)
        values.update(zip(node.output, results, strict=True))
        attributes = {a.name: _attribute(a) for a in node.attribute if a.type != AttributeProto.GRAPH}
        nodes.append(Node(node.op_type, arguments, results, ORIGIN, attributes, node.domain, body=next(iter(bodies), None)))
    return Graph(graph.name, inputs, tuple(values[o.name] for o in graph.output), tuple(nodes))


def _type(info: onnx.ValueInfoProto) -> TensorType | None:
    return TensorType(_dtype(info.type.tensor_type.elem_type), ()) if info.type.WhichOneof("value") else None


def _array(value: Any) -> np.ndarray[Any, Any]:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _run(case: Any, inputs: list[Any], constants: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    module = to_module(_graph(case.model, constants)).eval()
    names = [i.name for i in case.model.graph.input]
    given = [from_numpy(_array(a)) for n, a in zip(names, inputs, strict=True) if n not in constants]
    result = module(*given)
    return [to_numpy(t) for t in (result.values() if isinstance(result, dict) else [result])]


def _small_integers(case: Any, inputs: list[Any]) -> dict[str, np.ndarray[Any, Any]]:
    arrays = {i.name: _array(a) for i, a in zip(case.model.graph.input, inputs, strict=True)}
    return {n: a for n, a in arrays.items() if a.dtype in (np.int64, np.int32) and a.ndim <= 1 and a.size <= HOST_INTEGERS}


def _assert_same(case: Any, got: list[np.ndarray[Any, Any]], wanted: list[Any]) -> None:
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        w = _array(w)
        assert g.dtype == w.dtype
        assert g.shape == w.shape
        rtol = max(case.rtol, LAST_PLACES.get(w.dtype.name, 0.0))
        rounding = 2.0**-24 * float(np.max(np.abs(w.astype(np.float64)), initial=0.0, where=np.isfinite(w.astype(np.float64))))
        np.testing.assert_allclose(g.astype(np.float64), w.astype(np.float64), rtol=rtol, atol=max(case.atol, rounding))


NO_CASE = {"GlobalLpPool"}  # onnx has none; test_module.py does
# The outputs are random: only their shape and dtype could be compared.
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def _random(case: Any) -> bool:
    """Dropout that drops: its third input is true and its ratio, the second, is not 0."""
    (inputs, _), *_ = case.data_sets
    drops = case.model.graph.node[0].op_type == "Dropout" and len(inputs) == 3 and bool(inputs[2]) and float(inputs[1]) != 0
    return drops or any(n.op_type in RANDOM for n in case.model.graph.node)


def _lowered(case: Any) -> bool:
    lowered = known().keys() | {"Constant", "Loop", "Scan"}
    return all(n.domain == "" and n.op_type in lowered for n in _nodes(case.model.graph))


ALL = _cases()
LOWERED = [case for case in ALL if _lowered(case)]
UNKNOWN = [case for case in ALL if not _lowered(case) and _expressible(case.model)]
CASES = [case for case in LOWERED if _expressible(case.model) and _current(case.model) and not _random(case)]


def test_every_lowering_has_a_case() -> None:
    """Prints (`pytest -s`) how many cases each operator has, among those of one node."""
    count = Counter(node.op_type for case in CASES for node in case.model.graph.node if len(case.model.graph.node) == 1)
    left_out = len(LOWERED) - len(CASES)
    print(f"\n{len(known())} operators lowered, {len(CASES)} cases run, {left_out} left out: other types, older forms, random")
    print("  ".join(f"{name} {count[name]}" for name in sorted(known())))
    own = {name for name in known() if name.startswith("torch.")}  # no operators of ONNX
    assert {name for name in known() if not count[name]} - own == RANDOM | NO_CASE


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Any) -> None:
    torch.set_num_threads(2)
    for inputs, wanted in case.data_sets:
        _assert_same(case, _run(case, inputs, {}), wanted)
        constants = _small_integers(case, inputs)
        if constants:
            _assert_same(case, _run(case, inputs, constants), wanted)


@pytest.mark.parametrize("case", UNKNOWN, ids=lambda case: case.name)
def test_what_is_not_known_is_refused(case: Any) -> None:
    with pytest.raises(SpecError, match="has no lowering for"):
        to_module(_graph(case.model, {}))
