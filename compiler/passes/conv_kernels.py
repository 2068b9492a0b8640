"""Convolutions of 3 by 3 become our own kernel, where ONNX Runtime computes them and the processor has AVX2.

With what follows: a sum with a value of the same shape, and a ReLU. Elsewhere the kernel is what defines it: the operators that were there.

Requires: standard operators, folded. Ensures: the same outputs, up to rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import final

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.graph import STANDARD, Constant, Derived, Graph, Node, Parameter, Value
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.shapes import Shapes
from lamina.schema.dims import TensorType

_FIXED = (Parameter, Constant, Derived)
_LEAST = 16  # channels, and filters: with fewer the transforms take longer than what they save
_PLAIN = {"group": 1, "strides": (1, 1), "dilations": (1, 1), "kernel_shape": (3, 3), "auto_pad": "NOTSET"}


@final
@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution, the sum and the ReLU after it, if they are there, and what is added."""

    conv: Node
    add: Node | None
    other: Value | None
    relu: Node | None

    @property
    def nodes(self) -> list[Node]:
        return [node for node in (self.conv, self.add, self.relu) if node is not None]


def conv_kernels(graph: Graph) -> Graph:
    """Rewrite the convolutions."""
    reads = Counter(id(v) for node in graph.nodes for v in node.reads())
    reads.update(id(v) for v in graph.outputs)
    readers = {id(v): node for node in graph.nodes for v in node.inputs if v is not None and reads[id(v)] == 1}
    taken: set[int] = set()
    ends: dict[int, _Convolution] = {}
    for node in graph.nodes:
        if _fits(node):
            found = _followed(node, readers, taken)
            taken |= {id(part) for part in found.nodes}
            ends[id(found.nodes[-1])] = found
    nodes: list[Node] = []
    for node in graph.nodes:
        if id(node) in ends:
            nodes += _kernel(ends[id(node)])
        elif id(node) not in taken:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _fits(node: Node) -> bool:
    if node.domain != STANDARD or node.op_type != "Conv" or isinstance(node.inputs[0], _FIXED):
        return False
    attributes = dict(node.attributes)
    pads = attributes.pop("pads", (0, 0, 0, 0))
    filters, channels, *window = _shape(node.inputs[1]) or (0, 0)
    plain = all(_PLAIN.get(name) == (tuple(value) if isinstance(value, list | tuple) else value) for name, value in attributes.items())
    bias = len(node.inputs) < 3 or _shape(node.inputs[2]) == (filters,)
    return plain and bias and window == [3, 3] and min(filters, channels) >= _LEAST and all(0 <= pad <= 2 for pad in pads)  # type: ignore[operator, union-attr]


def _shape(value: Value | None) -> tuple[int, ...]:
    """Of a fixed tensor of float32; of others none."""
    if not isinstance(value, _FIXED):
        return ()
    tensor = tensor_of(value, Shapes())
    return tensor.shape if tensor.dtype == "float32" else ()


def _followed(conv: Node, readers: dict[int, Node], taken: set[int]) -> _Convolution:
    """With what alone reads it. A sum of two convolutions is taken by the first."""
    add, other, last = None, None, conv
    after = readers.get(id(conv.outputs[0]))
    if after is not None and (after.domain, after.op_type) == (STANDARD, "Add") and id(after) not in taken:
        left, right = after.inputs
        beside = right if left is conv.outputs[0] else left
        kind = conv.outputs[0].type
        if beside is not None and not isinstance(beside, _FIXED) and kind is not None and beside.type == kind:
            add, other, last = after, beside, after
    relu = readers.get(id(last.outputs[0]))
    return _Convolution(conv, add, other, relu if relu is not None and (relu.domain, relu.op_type) == (STANDARD, "Relu") else None)


def _kernel(found: _Convolution) -> list[Node]:
    conv, last, numbers = found.conv, found.nodes[-1], count(1)
    g = Builder(last.origin, last.outputs[0].name, {}, lambda base: f"{base}_{next(numbers)}")
    x, weight, bias = (*conv.inputs, None)[:3]
    if bias is None:
        filters = _shape(weight)[0]
        bias = Constant(f"no_bias_{filters}", TensorType("float32", (filters,)), np.zeros(filters, np.float32))
    top, left, bottom, right = (int(pad) for pad in conv.attributes.get("pads", (0, 0, 0, 0)))  # type: ignore[union-attr]

    def define(inner: Builder, x: Value, weight: Value, bias: Value, *other: Value) -> Sequence[Value]:
        made = inner("Conv", x, weight, bias, pads=(top, left, bottom, right))
        made = inner("Add", made, *other) if other else made
        return [inner("Relu", made) if found.relu is not None else made]

    given = [x, weight, bias, *([] if found.other is None else [found.other])]
    g.native("Conv", given, define, top=top, left=left, bottom=bottom, right=right, relu=int(found.relu is not None))
    *before, kernel = g.nodes
    return [*before, replace(kernel, outputs=last.outputs)]
