"""Names from content: derived tensors and large constants get the same name in every graph that computes the same thing.

Requires: `deduplicate` has run. Ensures: equal names mean equal contents, so that graphs can share one weight file.
"""

from __future__ import annotations

import hashlib

import numpy as np

from lamina.compiler.graph import Constant, Derived, Graph, Node, Parameter, Value, derived_under
from lamina.compiler.numeric import digest


def canonical_names(graph: Graph) -> Graph:
    """Rename derived tensors and constants."""
    namer = _Namer()
    return graph.mapped(namer.value)


class _Namer:
    def __init__(self) -> None:
        self.done: dict[int, Value] = {}
        self.owners: dict[int, str] = {}
        self.kept: list[Value] = []

    def value(self, value: Value) -> Value:
        """The value under its canonical name (or itself)."""
        if not isinstance(value, Derived | Constant):
            return value
        for part in derived_under(value, self.done):
            self._keep(part, self._derived(part))
        if id(value) not in self.done:  # then it is a constant
            assert isinstance(value, Constant)
            self._keep(value, Constant(f"constant.{digest(value.array)[:12]}", value.type, value.array))
        return self.done[id(value)]

    def _owner(self, node: Node) -> str:
        """The first weight under a folded operator, or an empty string."""
        owners = (v.name if isinstance(v, Parameter) else self.owners.get(id(v), "") for v in node.inputs)
        return next(filter(None, owners), "")

    def _keep(self, value: Value, renamed: Value) -> None:
        self.done[id(value)] = renamed
        self.kept.append(value)  # so that its id is not used again

    def _derived(self, value: Derived) -> Derived:
        node = value.node
        inputs = tuple(None if v is None else self.value(v) for v in node.inputs)
        index = [v.name for v in node.outputs].index(value.name)
        attributes = sorted((k, digest(v) if isinstance(v, np.ndarray) else str(v)) for k, v in node.attributes.items())
        text = repr((node.op_type, [v and v.name for v in inputs], attributes, index))
        self.owners[id(value)] = owner = self._owner(node)
        name = f"{owner or 'constant'}.{node.op_type.lower()}.{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        outputs = tuple(Value(name if i == index else f"{name}.{i}", v.type) for i, v in enumerate(node.outputs))
        renamed = Node(node.op_type, inputs, outputs, node.origin, node.attributes, node.domain, node.op)
        return Derived(name, value.type, renamed)
