"""A ReLU of a value that a GELU reads, too, becomes a maximum.

TensorRT puts the ReLU into what makes the value, a convolution, and then cannot build the GELU.

Requires: standard operators. Ensures: the same outputs under the same names.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lamina.compiler.graph import Constant, Graph, Node
from lamina.compiler.numeric import numpy_dtype
from lamina.schema.dims import TensorType


def split_relus(graph: Graph) -> Graph:
    """Take such ReLUs apart, in bodies too."""
    graph = graph.with_bodies(split_relus)
    shared = {id(v) for node in graph.nodes if node.op_type == "Gelu" for v in node.inputs}
    return replace(graph, nodes=tuple(_apart(n) if n.op_type == "Relu" and id(n.inputs[0]) in shared else n for n in graph.nodes))


def _apart(node: Node) -> Node:
    (value,) = node.inputs
    assert value is not None
    zero = Constant(f"{node.outputs[0].name}/zero", TensorType(value.dtype, ()), np.zeros((), numpy_dtype(value.dtype)))
    return replace(node, op_type="Max", inputs=(value, zero))
