"""The graph so far: nodes, weights and constants, each with the place that it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from lamina.compiler.elaborate.scope import Scope
from lamina.compiler.graph import LAMINA, STANDARD, Constant, Graph, Node, Origin, Parameter, Value
from lamina.compiler.integers import Integers, Known, single
from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.op import Op, Types, Weight
from lamina.schema.diagnostics import Fault, Note, Span
from lamina.schema.dims import INTEGERS, Dim, TensorType


@final
@dataclass(slots=True)
class Emitter:
    """Adds to the graph."""

    nodes: list[Node] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    origins: dict[int, Origin] = field(default_factory=dict)  # of values, by identity
    integers: dict[int, tuple[Value, Integers]] = field(default_factory=dict)  # what is known of values, by identity; it keeps them
    count: int = 0
    depth: int = 0  # of the bodies that are being collected
    blocks: list[tuple[str, dict[str, Parameter]]] = field(default_factory=list)  # given to ops that are being called: path, own weights

    def constant(self, value: Any, dtype: str) -> Constant:
        """A scalar constant."""
        self.count += 1
        return Constant(f"const_{self.count}", TensorType(dtype, ()), np.asarray(value, numpy_dtype(dtype)))

    def size(self, op: type[Op], size: Dim, dtype: str, span: Span) -> Value:
        """A dynamic size as a scalar."""
        found = op(size=size, dtype=dtype)  # type: ignore[call-arg]
        made: Value = self.node(found, (), {}, TensorType(dtype, ()), Scope(), span)
        return made

    def parameter(self, path: str, weight: Weight, shared: bool, span: Span) -> Parameter:
        """A weight at a path; the same one again inside a module. Raises Fault when two different ones meet."""
        known = self._own(path)
        found = known.get(path)
        if found is None:
            found = known[path] = Parameter(path, weight.type, weight.init, weight.trainable, Origin(weight.span or span, path))
            return found
        assert found.origin is not None
        notes = [Note("the first use is here", found.origin.span)]
        if not shared:
            hint = "give one of the steps another `name`, or share weights through `modules`"
            raise Fault("name", f"two weights have the path `{path}`", span, hint, notes)
        if found.type != weight.type:
            message = f"the shared weight `{path}` would be {weight.type} here, but it is {found.type}"
            raise Fault("shape", message, span, "a module is called with the same sizes each time", notes)
        return found

    def parameter_like(self, weight: Parameter, path: str) -> Parameter:
        """Another weight of the same kind at a path. Raises Fault when there is one."""
        assert weight.type is not None
        assert weight.origin is not None
        known = self._own(path)
        if path in known:
            return self.parameter(path, Weight(weight.type, weight.init, weight.trainable), False, weight.origin.span)
        made = known[path] = Parameter(path, weight.type, weight.init, weight.trainable, Origin(weight.origin.span, path))
        return made

    def _own(self, path: str) -> dict[str, Parameter]:
        """The weights among which one of that path is."""
        if not self.blocks:
            return self.parameters
        return next((own for block, own in reversed(self.blocks) if f"{path}.".startswith(f"{block}.")), self.parameters)

    def node(self, op: Op, inputs: Sequence[Value | None], weights: Mapping[str, Value], types: Types, scope: Scope, span: Span) -> Any:
        """Add a node and give its output or outputs; its weights follow its inputs in the order of `parameters`."""
        outputs = tuple(Value(n, t) for n, t in self._named(op, types, scope))
        origin = Origin(span, scope.path or op.name)
        attributes = {"weights": tuple(weights)}
        self.nodes.append(Node(op.name, (*inputs, *weights.values()), outputs, origin, attributes, LAMINA, op))
        self.origins.update({id(v): origin for v in outputs})
        if any(v.dtype in INTEGERS for v in outputs):
            self._know(op, inputs, types, outputs)
        return list(outputs) if isinstance(types, tuple) else outputs[0]

    def known(self, value: Value | None) -> Known:
        """What is known of a tensor of integers."""
        if isinstance(value, Constant) and value.dtype in INTEGERS:
            return single(int(value.array))
        return self.integers.get(id(value), (None, None))[1]

    def _know(self, op: Op, inputs: Sequence[Value | None], types: Types, outputs: Sequence[Value]) -> None:
        with suppress(Fault):  # a size that would be too long to write
            found = op.integers(types, *map(self.known, inputs))
            known = zip(outputs, found if isinstance(found, tuple) else (found,), strict=True)
            self.integers.update({id(v): (v, k) for v, k in known if k is not None and v.dtype in INTEGERS})

    def _named(self, op: Op, types: Types, scope: Scope) -> list[tuple[str, TensorType]]:
        self.count += 1
        base = f"{scope.path}#{self.count}" if scope.path else f"{op.name}_{self.count}#{self.count}"
        return [(f"{base}.{i}", t) for i, t in enumerate(types)] if isinstance(types, tuple) else [(base, types)]

    def output(self, identity: Op, value: Value, name: str, span: Span) -> Value:
        """A value under another name."""
        result = Value(name, value.type)
        self.nodes.append(Node("identity", (value,), (result,), Origin(span, name), {"weights": ()}, LAMINA, identity))
        return result

    def live(self, outputs: Sequence[Value]) -> tuple[Node, ...]:
        """The nodes that an output depends on."""
        needed, kept = {id(v) for v in outputs}, []
        for node in reversed(self.nodes):
            if any(id(v) in needed for v in node.outputs):
                needed |= {id(v) for v in node.reads()}
                kept.append(node)
        return tuple(reversed(kept))

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Collect nodes apart for a while: those of a body."""
        outer, self.nodes = self.nodes, []
        self.depth += 1
        try:
            yield
        finally:
            self.nodes = outer
            self.depth -= 1

    @contextmanager
    def block(self, path: str) -> Iterator[dict[str, Parameter]]:
        """Collect the nodes of a block that an op is given, and the weights that are its own: those under its path."""
        own: dict[str, Parameter] = {}
        self.blocks.append((path, own))
        try:
            with self.inside():
                yield own
        finally:
            self.blocks.pop()

    def received(self, name: str, type_: TensorType, scope: Scope, span: Span) -> Value:
        """What a body is given."""
        self.count += 1
        value = Value(f"{scope.join(name)}#{self.count}", type_)
        self.origins[id(value)] = Origin(span, scope.join(name))
        return value

    def loop(
        self, op_type: str, inputs: Sequence[Value], names: Sequence[str], types: Sequence[TensorType], body: Graph,
        attributes: Mapping[str, Any], scope: Scope, span: Span,
    ) -> list[Value]:  # fmt: skip
        """Add a Scan or a Loop and give its outputs, which have these names and types."""
        outputs = tuple(self.received(name, type_, scope, span) for name, type_ in zip(names, types, strict=True))
        origin = Origin(span, scope.join(op_type.lower()), op_type.lower())
        self.nodes.append(Node(op_type, tuple(inputs), outputs, origin, attributes, STANDARD, body=body))
        return list(outputs)
