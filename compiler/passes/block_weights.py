"""Linear layers and the tables that they share with embeddings: their weights become blocks of small integers.

Requires: a graph of ops. Ensures: the same graph, in which those weights are `Blocked`; an op that cannot read blocks reads numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lamina.compiler.blocked import Blocked, Layout
from lamina.compiler.graph import Graph, Node, Parameter, Value


def block_weights(graph: Graph, layout_of: Callable[[Parameter], Layout | None]) -> Graph:
    """Replace the weights of linear layers for which there is a layout, wherever they are read; in bodies too."""
    named = {id(node.outputs[0]): node.inputs[0] for node in graph.all_nodes() if node.op is not None and node.op.name == "parameter"}
    made: dict[int, Blocked] = {}
    for node in graph.all_nodes():
        weight = _weight(node)
        matrix = None if weight is None else named.get(id(weight), weight)
        if weight is not None and isinstance(matrix, Parameter) and id(weight) not in made and _fits(matrix):
            layout = layout_of(matrix)
            if layout is not None:
                layout = replace(layout, exact=_ends(graph, node))
                made[id(weight)] = Blocked(matrix.name, matrix.type, matrix.init, matrix.trainable, matrix.origin, layout=layout)
    return graph.mapped(lambda value: made.get(id(value), value))


def _ends(graph: Graph, node: Node) -> bool:
    """Whether what the layer gives is an output of the model: nothing after it evens out what it rounds."""
    made = {id(n.outputs[0]): n for n in graph.nodes if n.op is not None and n.op.name == "identity"}
    copies = {id(n.inputs[0]) for key, n in made.items() if key in {id(v) for v in graph.outputs}}
    return id(node.outputs[0]) in copies


def _weight(node: Node) -> Value | None:
    """What a linear layer multiplies by."""
    names = node.attributes.get("weights", ())
    if node.op is None or node.op.name != "linear" or not isinstance(names, tuple) or "weight" not in names:
        return None
    return node.inputs[len(node.inputs) - len(names) + names.index("weight")]


def _fits(matrix: Parameter) -> bool:
    return matrix.rank == 2 and matrix.dtype == "float32" and all(isinstance(size, int) for size in matrix.shape)
