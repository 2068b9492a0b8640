"""Layers whose numbers are rounded in ranges that are known before, in the forms that ONNX Runtime has integer kernels for.

A convolution stands between QuantizeLinear and DequantizeLinear, which is read as QLinearConv. A product is MatMulIntegerToFloat, which
adds the bias, too: the standard form is a fifth slower.

Requires: standard operators, folded, and the range of each value that `observed` names. Ensures: the same outputs up to rounding. Codes
of weights are computed by operators on parameters, which `fold` turns into derived tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.graph import NATIVE, STANDARD, Derived, Graph, Node, Parameter, Value, leaves
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.weights.derived import stand_in
from lamina.schema.dims import Precision

_LAYERS = {(STANDARD, "Conv"), (STANDARD, "MatMul"), (STANDARD, "Gemm"), (NATIVE, "Linear")}
_LEAST = 1024  # numbers: a smaller weight gains nothing
_LARGEST_BIAS = 2**30  # in steps of a sum
Ranges = Mapping[str, tuple[float, float]]
Fresh = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A node that is rounded, the axis of its weight that has a scale for each place, and the value that is rounded after it, if any.

    `add` adds the bias of a product, where it is a node of its own.
    """

    node: Node
    x: Value
    weight: Parameter | Derived
    axis: int
    after: Value | None
    add: Node | None

    @property
    def rounds(self) -> tuple[Value, ...]:
        return (self.x,) if self.after is None else (self.x, self.after)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two operators that round a value, its codes and what these stand for, their step and the code of 0."""

    nodes: tuple[Node, ...]
    codes: Value
    value: Value
    step: Value
    zero: Value


def observed(graph: Graph, precisions: Mapping[str, Precision]) -> list[str]:
    """The values whose ranges are needed to round the layers whose weights are to be in int8-static, by name."""
    return list(dict.fromkeys(value.name for layer in _layers(graph, precisions) for value in layer.rounds))


def quantize_layers(graph: Graph, precisions: Mapping[str, Precision], ranges: Ranges) -> Graph:
    """Round the layers whose weights are to be in int8-static: products with matrices, and convolutions of two dims in one group that
    another step reads.

    ONNX Runtime gains nothing by others: a depthwise convolution of integers takes half as long again as one of float32, and one whose
    sums are not rounded is computed in float32.
    """
    layers = {id(layer.node): layer for layer in _layers(graph, precisions)}
    fresh = _names()
    pairs: dict[int, _Pair] = {}
    for layer in layers.values():
        for value in layer.rounds:
            if id(value) not in pairs:
                pairs[id(value)] = _pair(value, ranges[value.name], layer.node, fresh)
    added = {id(layer.add) for layer in layers.values()}
    sums = {id(layer.after): pairs[id(layer.after)].value for layer in layers.values() if layer.after is not None}
    nodes = [node for value in graph.inputs if id(value) in pairs for node in pairs[id(value)].nodes]
    for node in (node for node in graph.nodes if id(node) not in added):
        rounded = _rounded(layers[id(node)], pairs[id(node.inputs[0])], fresh) if id(node) in layers else [node]
        nodes += [part.mapped(lambda value: sums.get(id(value), value)) for part in rounded]
        nodes += [part for value in node.outputs if id(value) in pairs for part in pairs[id(value)].nodes]
    return replace(graph, nodes=tuple(nodes))


def _layers(graph: Graph, precisions: Mapping[str, Precision]) -> Iterator[_Layer]:
    readers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for value in node.reads():
            readers.setdefault(id(value), []).append(node)
    given = {id(value) for value in graph.outputs}
    for node in graph.nodes:
        if (axis := _axis(node, precisions)) is None:
            continue
        x, weight = node.inputs[:2]
        assert x is not None
        assert isinstance(weight, Parameter | Derived)
        if node.op_type != "Conv":
            yield _Layer(node, x, weight, axis, None, _bias(node, readers, given))
        elif (after := _after(node, readers, given)) is not None:
            yield _Layer(node, x, weight, axis, after, None)


def _axis(node: Node, precisions: Mapping[str, Precision]) -> int | None:
    """The axis of the weight along which results lie; None for a node that is not rounded."""
    if (node.domain, node.op_type) not in _LAYERS:
        return None
    x, weight = node.inputs[:2]
    if not isinstance(weight, Parameter | Derived) or isinstance(x, Parameter | Derived):
        return None
    if {precisions[leaf.name] for leaf in leaves(weight) if leaf.name in precisions} != {"int8-static"}:
        return None
    array = stand_in(weight).array
    if array.size < _LEAST or array.dtype != np.float32 or array.ndim != (4 if node.op_type == "Conv" else 2):
        return None
    if node.op_type == "Conv":
        return 0 if node.attributes.get("group", 1) == 1 else None
    if node.op_type == "Gemm" and any(node.attributes.get(key, 1) != 1 for key in ("alpha", "beta")):
        return None
    return 0 if node.attributes.get("transB", 0) else 1


def _after(node: Node, readers: Mapping[int, list[Node]], given: Collection[int]) -> Value | None:
    """What a convolution gives, behind a ReLU if that alone reads it; None where the model gives it."""
    value = node.outputs[0]
    following = readers.get(id(value), [])
    if len(following) == 1 and following[0].op_type in ("Relu", "Clip") and id(value) not in given:
        value = following[0].outputs[0]
    return None if id(value) in given else value


def _bias(node: Node, readers: Mapping[int, list[Node]], given: Collection[int]) -> Node | None:
    """What adds a vector to the product and alone reads it."""
    following = readers.get(id(node.outputs[0]), [])
    if len(node.inputs) > 2 or len(following) != 1 or following[0].op_type != "Add" or id(node.outputs[0]) in given:
        return None
    others = [value for value in following[0].inputs if value is not node.outputs[0]]
    fixed = len(others) == 1 and isinstance(others[0], Parameter | Derived)
    return following[0] if fixed and stand_in(others[0]).array.ndim == 1 else None  # type: ignore[arg-type]


def _pair(value: Value, bounds: tuple[float, float], by: Node, fresh: Fresh) -> _Pair:
    """Codes of 8 bits over the range, which is widened to hold 0: padding stays exact."""
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    width = (high - low) / 255 if high - low > 1e-30 else 1.0
    g = Builder(by.origin, value.name, {}, fresh)
    step, zero = g.constant(width, "float32"), g.constant(int(np.clip(round(-low / width), 0, 255)), "uint8")
    codes = g("QuantizeLinear", value, step, zero)
    back = g("DequantizeLinear", codes, step, zero)
    return _Pair(tuple(g.nodes), codes, back, step, zero)


def _rounded(layer: _Layer, read: _Pair, fresh: Fresh) -> list[Node]:
    """The operator on codes, and those that make the codes of its weight."""
    g = Builder(layer.node.origin, layer.node.outputs[0].name, {}, fresh)
    (_convolution if layer.node.op_type == "Conv" else _product)(g, layer, read)
    result = layer.node if layer.add is None else layer.add
    return [*g.nodes[:-1], replace(g.nodes[-1], outputs=result.outputs, op=layer.node.op)]


def _convolution(g: Builder, layer: _Layer, read: _Pair) -> None:
    node = layer.node
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    most = None if bias is None else g("Div", g("Abs", bias), g("Mul", read.step, g.constant(_LARGEST_BIAS, "float32")))
    codes, scales = _codes(g, layer, most)
    inputs = [read.value, g("DequantizeLinear", codes, scales, axis=layer.axis)]
    if bias is not None:
        steps = g("Mul", scales, read.step)
        whole = g("Cast", g("Round", g("Div", bias, steps)), to=ONNX_DTYPE["int32"])
        inputs.append(g("DequantizeLinear", whole, steps, axis=0))
    attributes: Mapping[str, Any] = node.attributes
    g("Conv", *inputs, **attributes)


def _product(g: Builder, layer: _Layer, read: _Pair) -> None:
    node, add = layer.node, layer.add
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if add is not None:
        (bias,) = (value for value in add.inputs if value is not node.outputs[0])
    codes, scales = _codes(g, layer, None)
    matrix = codes if layer.axis == 1 else g.transpose(codes, 1, 0)
    g("MatMulIntegerToFloat", read.codes, matrix, read.step, scales, read.zero, None, bias, domain="com.microsoft")


def _codes(g: Builder, layer: _Layer, least: Value | None) -> tuple[Value, Value]:
    """int8 codes like the weight, around 0, and their steps: a 127th of the largest number of each place along the axis, or `least`."""
    rank = stand_in(layer.weight).array.ndim
    others = [dim for dim in range(rank) if dim != layer.axis]
    steps = g("Div", g("ReduceMax", g("Abs", layer.weight), g.ints(*others), keepdims=0), g.constant(127, "float32"))
    scales = g("Max", steps, g.constant(1e-30, "float32"), *([] if least is None else [least]))
    spread = g("Reshape", scales, g.ints(*(-1 if dim == layer.axis else 1 for dim in range(rank))))
    return g("Cast", g("Round", g("Div", layer.weight, spread)), to=ONNX_DTYPE["int8"]), scales


def _names() -> Fresh:
    numbers = count(1)
    return lambda base: f"{base}_rounded_{next(numbers)}"
