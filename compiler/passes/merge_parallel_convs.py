"""Convolutions of one value that are added become one: branches that only training needs cost nothing at inference.

A smaller kernel is padded to the larger one's size, and a BatchNormalization of the value is a 1x1 convolution with a diagonal kernel.

Requires: standard operators, inference, `fuse_conv_batch_norm` and `fold` have run. Ensures: the same outputs up to rounding. The new
weights are computed by operators on parameters, which `fold` turns into derived tensors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Constant, Derived, Graph, Node, Parameter, Value

_FIXED = (Parameter, Constant, Derived)


@dataclass(frozen=True, slots=True)
class _Conv:
    """A convolution: its node, kernel, and how the kernel lies."""

    node: Node
    weight: Value
    bias: Value | None
    kernel: tuple[int, ...]
    begin: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int

    @property
    def source(self) -> Value | None:
        return self.node.inputs[0]


def merge_parallel_convs(graph: Graph) -> Graph:
    """Merge, in each sum of convolutions of one value, those that nothing else reads; in bodies too."""
    graph = graph.with_bodies(merge_parallel_convs)
    readers = Counter(id(v) for n in graph.nodes for v in n.reads())
    readers.update(id(v) for v in graph.outputs)
    makers = {id(v): n for n in graph.nodes for v in n.outputs}
    nodes: dict[int, list[Node]] = {id(n): [n] for n in graph.nodes}
    computed: set[int] = set()  # weights of merged convolutions
    for node in graph.nodes:
        merged = _merged(node, makers, readers, computed) if node.op_type == "Add" else None
        if merged is not None:
            nodes[id(node)] = merged
            computed |= {id(v) for n in merged[:-1] for v in n.outputs}
            makers[id(node.outputs[0])] = merged[-1]
    return replace(graph, nodes=tuple(m for n in graph.nodes for m in nodes[id(n)]))


def _merged(add: Node, makers: Mapping[int, Node], readers: Mapping[int, int], computed: Container[int]) -> list[Node] | None:
    """The operators that take the place of a sum of two convolutions; what they replace stays for `deduplicate` to drop."""
    sides = [makers.get(id(v)) for v in add.inputs if v is not None and readers[id(v)] == 1]
    plain = [conv for side in sides if side is not None and (conv := _conv(side, computed)) is not None]
    norms = [side for side in sides if side is not None and _is_norm(side)]
    g = Builder(add.origin, add.outputs[0].name, {}, _counted(add.outputs[0].name))
    if len(plain) == 1 and len(norms) == 1:
        plain += [c for c in [_norm_as_conv(g, norms[0], plain[0])] if c is not None]
    if len(plain) != 2:
        return None
    large, small = sorted(plain, key=lambda conv: conv.kernel, reverse=True)
    offset = _offset(large, small)
    if offset is None:
        return None
    after = [k - s - o for k, s, o in zip(large.kernel, small.kernel, offset, strict=True)]
    padded = small.weight if small.kernel == large.kernel else g("Pad", small.weight, g.ints(0, 0, *offset, 0, 0, *after))
    biases = [conv.bias for conv in plain if conv.bias is not None]
    bias = g("Add", *biases) if len(biases) == 2 else biases[0] if biases else None
    inputs = (large.source, g("Add", large.weight, padded), *([bias] if bias is not None else []))
    return [*g.nodes, Node("Conv", inputs, add.outputs, add.origin, large.node.attributes)]


def _offset(large: _Conv, small: _Conv) -> list[int] | None:
    """Where the smaller kernel lies in the larger one; None where the two do not compute one convolution."""
    if large.source is not small.source or (large.groups, large.strides) != (small.groups, small.strides):
        return None
    steps = zip(large.begin, small.begin, large.dilations, large.kernel, small.kernel, strict=True)
    found = [((b - s) // d if (b - s) % d == 0 else -1, k - n) for b, s, d, k, n in steps]
    same_spacing = all(n == 1 or d == e for n, d, e in zip(small.kernel, large.dilations, small.dilations, strict=True))
    return [o for o, _ in found] if same_spacing and all(0 <= o <= room for o, room in found) else None


def _conv(node: Node, computed: Container[int]) -> _Conv | None:
    """The node as a convolution with weights that are known when it is compiled."""
    if node.op_type != "Conv" or not all(v is None or isinstance(v, _FIXED) or id(v) in computed for v in node.inputs[1:]):
        return None
    attributes: Any = node.attributes
    kernel = attributes["kernel_shape"]
    n, weight = len(kernel), node.inputs[1]
    assert weight is not None
    ones = (1,) * n
    return _Conv(
        node, weight, node.inputs[2] if len(node.inputs) > 2 else None, kernel, attributes.get("pads", (0,) * 2 * n)[:n],
        attributes.get("strides", ones), attributes.get("dilations", ones), attributes.get("group", 1),
    )  # fmt: skip


def _is_norm(node: Node) -> bool:
    return node.op_type == "BatchNormalization" and all(isinstance(v, _FIXED) for v in node.inputs[1:])


def _norm_as_conv(g: Builder, norm: Node, like: _Conv) -> _Conv | None:
    """The norm as a convolution beside another: y = x * s + (beta - mean * s), with s = gamma / sqrt(var + eps)."""
    gamma, beta, mean, variance = (v for v in norm.inputs[1:5] if v is not None)
    (channels,) = gamma.shape
    n = len(like.kernel)
    if norm.inputs[0] is not like.source or not isinstance(channels, int) or set(like.strides) != {1}:
        return None
    epsilon: Any = norm.attributes.get("epsilon", 1e-5)
    scale = g("Div", gamma, g("Sqrt", g("Add", variance, g.constant(epsilon, gamma.dtype))))
    inside = channels // like.groups
    diagonal = np.tile(np.eye(inside), (like.groups, 1)).reshape(channels, inside, *[1] * n)
    weight = g("Mul", g.constant(diagonal, gamma.dtype), g("Reshape", scale, g.ints(-1, *[1] * (n + 1))))
    bias = g("Sub", beta, g("Mul", mean, scale))
    ones = (1,) * n
    return _Conv(replace(norm, inputs=norm.inputs[:1]), weight, bias, ones, (0,) * n, ones, ones, like.groups)


def _counted(base: str) -> Any:
    count = 0

    def fresh(_: str) -> str:
        nonlocal count
        count += 1
        return f"{base}_merged_{count}"

    return fresh
