"""The graph: frozen values and nodes, symbolic shapes, and where each node came from.

The same classes hold both levels. Before decomposition a node's domain is `lamina` and it carries the bound op;
after it, a node is a standard ONNX operator (domain ""), a target's own one (`com.microsoft`), one of our own kernels (`lamina.native`),
or a PyTorch function (`torch`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.schema import carried
from lamina.schema.diagnostics import Span
from lamina.schema.dims import Size, TensorType

if TYPE_CHECKING:
    from lamina.compiler.op import Op

LAMINA = "lamina"
NATIVE = "lamina.native"
STANDARD = ""
Attribute = int | float | str | bool | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Provenance: the step's place in the YAML file and the path of blocks, names and indices that led to it.

    `form` says of an operator which op it belongs to, and by which of its fast paths if not by the definition: `attention.functional`.
    """

    span: Span
    path: str
    form: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor in the graph. `type` is None only for a value inside an op's definition."""

    name: str
    type: TensorType | None = None

    @property
    def shape(self) -> tuple[Size, ...]:
        return self._known().shape

    @property
    def dtype(self) -> str:
        return self._known().dtype

    @property
    def rank(self) -> int:
        return len(self._known().shape)

    def _known(self) -> TensorType:
        if self.type is None:
            raise TypeError(f"the type of {self.name} is not known inside a definition")
        return self.type


@dataclass(frozen=True, slots=True, eq=False)
class Parameter(Value):
    """A weight. `name` is its path; `init` is an initialiser as text, such as `uniform(0.5)`, `zeros`, `normal(0.02)`."""

    init: str = "zeros"
    trainable: bool = True
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Value):
    """An array known at compile time."""

    array: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(()))


@dataclass(frozen=True, slots=True, eq=False)
class Derived(Value):
    """A tensor that a standard operator computes from parameters and constants only: evaluated when weights are written."""

    node: Node = None  # type: ignore[assignment]  # always given; a default is needed after Value's


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operator. `op` is the bound op while `domain` is `lamina`, and then the one that the operator is part of, if any.

    A Scan or a Loop has a `body`, whose nodes may read any value that is known where the node stands. So has an If, and another one
    for `otherwise`. One of our own kernels has the `function` that defines it, which reads its inputs alone.
    """

    op_type: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    origin: Origin
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    domain: str = STANDARD
    op: Op | None = None
    body: Graph | None = None
    otherwise: Graph | None = None
    function: Graph | None = None

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return tuple(graph for graph in (self.body, self.otherwise) if graph is not None)

    def with_bodies(self, change: Callable[[Graph], Graph]) -> Node:
        """The node with each body changed."""
        if self.body is None:
            return self
        return replace(self, body=change(self.body), otherwise=self.otherwise and change(self.otherwise))

    def reads(self) -> Iterator[Value]:
        """The inputs that are given, and what the bodies take from around them."""
        yield from (v for v in self.inputs if v is not None)
        if self.body is not None:
            for body in self.bodies:
                yield from body.free()

    def mapped(self, value: Callable[[Value], Value], outputs: tuple[Value, ...] | None = None) -> Node:
        """The node with each value that it or a body reads replaced, and, if given, other outputs."""
        inputs = tuple([None if v is None else value(v) for v in self.inputs])
        outputs = self.outputs if outputs is None else outputs
        if self.body is not None:
            return replace(self.with_bodies(lambda body: body.mapped(value)), inputs=inputs, outputs=outputs)
        if _identical(inputs, self.inputs) and _identical(outputs, self.outputs):
            return self
        # not by `replace`, which takes three times as long: every pass maps every node
        return Node(self.op_type, inputs, outputs, self.origin, self.attributes, self.domain, self.op, function=self.function)


def _identical(some: Sequence[Value | None], others: Sequence[Value | None]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


@dataclass(frozen=True, slots=True)
class State:
    """A tensor that is carried from call to call: the input `past` is what the call before left in the output `present`.

    The first call starts from `initial` in every place, along a size that grows from as few places as its dim allows.
    """

    name: str
    initial: float | int | bool

    @property
    def past(self) -> str:
        return carried.past(self.name)

    @property
    def present(self) -> str:
        return carried.present(self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Nodes in topological order. Parameters, constants and derived tensors are found through the nodes that use them.

    What `states` says of stands among the inputs and outputs, after those that the model declares.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    states: tuple[State, ...] = ()

    def parameters(self) -> tuple[Parameter, ...]:
        """Every weight that the graph depends on, each once, in order of first use."""
        found: dict[str, Parameter] = {}
        for value in self.initializers():
            for leaf in leaves(value):
                if isinstance(leaf, Parameter):
                    found.setdefault(leaf.name, leaf)
        return tuple(found.values())

    def initializers(self) -> tuple[Parameter | Constant | Derived, ...]:
        """The parameters, constants and derived tensors that nodes (or outputs) read directly, each once."""
        found: dict[int, Parameter | Constant | Derived] = {}
        used = (value for node in self.nodes for value in node.reads())
        for value in (*used, *self.outputs):
            if isinstance(value, Parameter | Constant | Derived):
                found.setdefault(id(value), value)
        return tuple(found.values())

    def free(self) -> tuple[Value, ...]:
        """What the graph uses without being given it or making it, each once: in a body, what it takes from around it."""
        own = {id(v) for v in self.inputs} | {id(v) for node in self.nodes for v in node.outputs}
        used = (value for node in self.nodes for value in node.reads())
        return tuple({id(v): v for v in (*used, *self.outputs) if id(v) not in own}.values())

    def mapped(self, value: Callable[[Value], Value]) -> Graph:
        """The graph with each value that is read, or is an output, replaced."""
        nodes = tuple(node.mapped(value) for node in self.nodes)
        return replace(self, outputs=tuple(value(v) for v in self.outputs), nodes=nodes)

    def all_nodes(self) -> Iterator[Node]:
        """The nodes, each followed by those of its bodies."""
        for node in self.nodes:
            yield node
            for body in node.bodies:
                yield from body.all_nodes()

    def with_bodies(self, change: Callable[[Graph], Graph]) -> Graph:
        """The graph with each body changed."""
        return replace(self, nodes=tuple(node.with_bodies(change) for node in self.nodes))


@dataclass(frozen=True, slots=True)
class Copy:
    """How a graph is copied: names of new values, what becomes of their types, and where its nodes come from."""

    fresh: Callable[[str], str]
    type: Callable[[TensorType | None], TensorType | None]
    origin: Callable[[Origin], Origin]


def copied(graph: Graph, known: Mapping[int, Value], copy: Copy) -> Graph:
    """The graph with `known` values, by identity, in the place of some, and new ones for all others that it makes; so in its bodies."""
    found = dict(known)

    def renamed(value: Value) -> Value:
        return found.setdefault(id(value), Value(copy.fresh(value.name), copy.type(value.type)))

    inputs, nodes = tuple(renamed(v) for v in graph.inputs), []
    for node in graph.nodes:
        read = tuple(v and found.get(id(v), v) for v in node.inputs)
        inner = node.with_bodies(lambda body: copied(body, found, copy))
        nodes.append(replace(inner, inputs=read, outputs=tuple(renamed(v) for v in node.outputs), origin=copy.origin(node.origin)))
    return replace(graph, inputs=inputs, outputs=tuple(found.get(id(v), v) for v in graph.outputs), nodes=tuple(nodes))


def leaves(value: Value) -> Iterator[Value]:
    """The parameters and constants under a derived tensor (or the value itself)."""
    pending = [value]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, Derived):
            pending.extend(v for v in reversed(current.node.inputs) if v is not None)
        else:
            yield current


def derived_under(value: Value, known: Container[int] = ()) -> Iterator[Derived]:
    """The derived tensors that a value is made of, itself among them, each after those that it reads.

    Those whose id is in `known` are left out, with what only they read. The caller may add to `known` what it has been given.
    """
    pending = [(value, False)]
    while pending:
        current, ready = pending.pop()
        if not isinstance(current, Derived) or id(current) in known:
            continue
        if ready:
            yield current
        else:
            pending.append((current, True))
            pending.extend((v, False) for v in current.node.inputs if v is not None)
