"""Convolutions of 3 by 3 become our own kernel, where ONNX Runtime computes them and the processor has AVX2.

Elsewhere the kernel is what defines it: the operator that was there. What follows stays apart: to add and to bound in the kernel, too, was
measured to gain nothing.

Requires: standard operators, folded. Ensures: the same outputs, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.graph import STANDARD, Constant, Derived, Graph, Node, Parameter, Value
from lamina.compiler.weights.derived import float_shape
from lamina.schema.dims import TensorType

_FIXED = (Parameter, Constant, Derived)
_LEAST = 16  # channels, and filters: from there on it was measured to be faster; of 3 channels it takes twice as long
_PLAIN = {"group": 1, "strides": (1, 1), "dilations": (1, 1), "kernel_shape": (3, 3), "auto_pad": "NOTSET"}


def conv_kernels(graph: Graph) -> Graph:
    """Rewrite the convolutions."""
    return replace(graph, nodes=tuple(_kernel(node) if _fits(node) else node for node in graph.nodes))


def _fits(node: Node) -> bool:
    if node.domain != STANDARD or node.op_type != "Conv" or isinstance(node.inputs[0], _FIXED):
        return False
    attributes = dict(node.attributes)
    pads = attributes.pop("pads", (0, 0, 0, 0))
    filters, channels, *window = float_shape(node.inputs[1]) or (0, 0)
    plain = all(_PLAIN.get(name) == (tuple(value) if isinstance(value, list | tuple) else value) for name, value in attributes.items())
    bias = len(node.inputs) < 3 or float_shape(node.inputs[2]) == (filters,)
    return plain and bias and window == [3, 3] and min(filters, channels) >= _LEAST and all(0 <= pad <= 2 for pad in pads)  # type: ignore[operator, union-attr]


def _kernel(conv: Node) -> Node:
    g = Builder(conv.origin, conv.outputs[0].name, {}, lambda base: base)
    x, weight, bias = (*conv.inputs, None)[:3]
    if bias is None:
        filters = float_shape(weight)[0]
        bias = Constant(f"no_bias_{filters}", TensorType("float32", (filters,)), np.zeros(filters, np.float32))
    top, left, bottom, right = (int(pad) for pad in conv.attributes.get("pads", (0, 0, 0, 0)))  # type: ignore[union-attr]

    def define(inner: Builder, x: Value, weight: Value, bias: Value) -> Sequence[Value]:
        return [inner("Conv", x, weight, bias, pads=(top, left, bottom, right))]

    g.native("Conv", [x, weight, bias], define, top=top, left=left, bottom=bottom, right=right)
    return replace(g.nodes[-1], outputs=conv.outputs)
