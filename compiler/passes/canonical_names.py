"""Names from content: derived tensors and large constants get the same name in every graph that computes the same thing.

Requires: `deduplicate` has run. Ensures: equal names mean equal contents, so that graphs can share one weight file.
"""

from __future__ import annotations

import hashlib

from lamina.compiler.graph import Constant, Derived, Graph, Node, Parameter, Value, leaves


def canonical_names(graph: Graph) -> Graph:
    """Rename derived tensors and constants."""
    namer = _Namer()
    nodes = tuple(
        Node(n.op_type, tuple(None if v is None else namer.value(v) for v in n.inputs), n.outputs, n.origin, n.attributes, n.domain, n.op)
        for n in graph.nodes
    )
    return Graph(graph.name, graph.inputs, tuple(namer.value(v) for v in graph.outputs), nodes)


class _Namer:
    def __init__(self) -> None:
        self.done: dict[int, Value] = {}
        self.kept: list[Value] = []

    def value(self, value: Value) -> Value:
        """The value under its canonical name (or itself)."""
        if not isinstance(value, Derived | Constant):
            return value
        if id(value) not in self.done:
            self.done[id(value)] = self._constant(value) if isinstance(value, Constant) else self._derived(value)
            self.kept.append(value)
        return self.done[id(value)]

    def _constant(self, value: Constant) -> Constant:
        digest = hashlib.sha256(f"{value.array.dtype.str}{value.array.shape}".encode() + value.array.tobytes()).hexdigest()[:12]
        return Constant(f"constant.{digest}", value.type, value.array)

    def _derived(self, value: Derived) -> Derived:
        node = value.node
        inputs = tuple(None if v is None else self.value(v) for v in node.inputs)
        index = [v.name for v in node.outputs].index(value.name)
        attributes = sorted((k, str(v)) for k, v in node.attributes.items())
        text = repr((node.op_type, [v and v.name for v in inputs], attributes, index))
        owner = next((v.name for v in leaves(value) if isinstance(v, Parameter)), "constant")
        name = f"{owner}.{node.op_type.lower()}.{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        outputs = tuple(Value(name if i == index else f"{name}.{i}", v.type) for i, v in enumerate(node.outputs))
        renamed = Node(node.op_type, inputs, outputs, node.origin, node.attributes, node.domain, node.op)
        return Derived(name, value.type, renamed)
