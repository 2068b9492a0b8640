"""A block that is called again on values of the same types, with the same arguments, makes the same nodes under another path: they are
copied, not worked out anew. So a model of a thousand equal layers costs two of them, and as many copies."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.scope import Scope
from lamina.compiler.elaborate.values import Frame
from lamina.compiler.graph import Constant, Node, Origin, Parameter, Value
from lamina.compiler.integers import Known
from lamina.compiler.op import block_arguments
from lamina.schema.dims import Dim, TensorType
from lamina.schema.spec import Block

NODE, WEIGHT = 6, 4  # evaluations that recording or copying one is as much work as


class _Unlike(Exception):
    """It cannot be told that two calls are the same."""


@final
@dataclass(frozen=True, slots=True)
class _Output:
    """What a value's name is made of: a path below the block's, the count when it was made, and which output of several it is; what is
    known of it."""

    value: Value
    below: str
    number: int
    place: str
    known: Known

    @classmethod
    def of(cls, value: Value, path: str, known: Known) -> Self:
        below, _, number = value.name.removeprefix(path).rpartition("#")
        digits, dot, place = number.partition(".")
        return cls(value, below, int(digits), dot + place, known)

    def at(self, path: str, shift: int) -> Value:
        """The like under another path, so many later."""
        return Value(f"{path}{self.below}#{self.number + shift}{self.place}", self.value.type)


@final
@dataclass(frozen=True, slots=True)
class Recording:
    """What one call of a block made: the values that it was given, its weights with their paths below its own, its nodes with their paths
    and outputs, and its result."""

    start: int  # the count before it
    count: int  # how far it went on
    given: tuple[Value, ...]
    weights: tuple[tuple[Parameter, str], ...]
    nodes: tuple[tuple[Node, str, tuple[_Output, ...]], ...]
    result: Any

    def copied(self, context: Context, given: Sequence[Value], path: str) -> Any:
        """The same for other values, under another path. Raises Fault where a weight has that path already, or it is too much."""
        graph, shift = context.graph, context.graph.count - self.start
        context.budget.work(NODE * len(self.nodes) + WEIGHT * len(self.weights))
        values: dict[Value, Value] = dict(zip(self.given, given, strict=True))
        for weight, below in self.weights:
            values[weight] = graph.parameter_like(weight, path + below)
        for node, below, outputs in self.nodes:
            origin = Origin(node.origin.span, path + below, node.origin.form)
            inputs = tuple([None if v is None else values.get(v, v) for v in node.inputs])
            made = tuple([output.at(path, shift) for output in outputs])
            graph.nodes.append(Node(node.op_type, inputs, made, origin, node.attributes, node.domain, node.op))
            for output, new in zip(outputs, made, strict=True):
                values[output.value] = new
                graph.origins[id(new)] = origin
                if output.known is not None:
                    graph.integers[id(new)] = (new, output.known)
        graph.count += self.count
        return _mapped(self.result, values)


def once(context: Context, block: Block, frame: Frame, scope: Scope, run: Callable[[], Any]) -> Any:
    """What running the block gives: the second call of the same is kept, and those after it are its copies."""
    given = tuple(_values(list(frame.values.values())))
    key = _key(context, block, frame, scope, given)
    if key is None:
        return run()
    known = context.runs.get(key)
    if known is not None:
        return known.copied(context, given, scope.path)
    before = (context.budget.faults, len(context.states), dict(context.growth))
    start, count = len(context.graph.nodes), context.graph.count
    result = run()
    if key in context.runs and before == (context.budget.faults, len(context.states), dict(context.growth)):
        nodes = tuple(context.graph.nodes[start:])
        if all(_plain(node, scope.path) for node in nodes):
            made = tuple(_made(context, node, scope.path) for node in nodes)
            weights = tuple(_weights(nodes, scope.path))
            context.budget.work(NODE * len(made) + WEIGHT * len(weights))
            context.runs[key] = Recording(count, context.graph.count - count, given, weights, made, result)
    context.runs.setdefault(key, None)
    return result


def _made(context: Context, node: Node, path: str) -> tuple[Node, str, tuple[_Output, ...]]:
    """A node with its path below the block's, and its outputs."""
    outputs = tuple(_Output.of(value, path, context.graph.known(value)) for value in node.outputs)
    return node, node.origin.path.removeprefix(path), outputs


def _weights(nodes: Sequence[Node], path: str) -> Iterator[tuple[Parameter, str]]:
    """The block's own weights, each once, with their paths below its own. One from elsewhere is the same in a copy."""
    found: set[Parameter] = set()
    for weight in (v for node in nodes for v in node.inputs if isinstance(v, Parameter) and v not in found):
        found.add(weight)
        if weight.type is not None and weight.origin is not None and f"{weight.name}.".startswith(f"{path}."):
            yield weight, weight.name.removeprefix(path)


def _plain(node: Node, path: str) -> bool:
    """Whether a node has no other nodes inside, and is named below the block's path."""
    inside = node.bodies or node.function is not None or node.op is None or block_arguments(type(node.op))
    return not inside and all(v.name.startswith(path) and "#" in v.name for v in node.outputs)


def _key(context: Context, block: Block, frame: Frame, scope: Scope, given: Sequence[Value]) -> Hashable:
    """Equal for calls that make the same. None where that is not known: of adapted models, states, modules and blocks as arguments."""
    if context.spec.adapt or block.state or scope.shared or scope.element is not None or scope.counts or not scope.path:
        return None
    places = {id(value): number for number, value in reversed(list(enumerate(given)))}
    try:
        names = tuple((name, _alike(context, value, places)) for name, value in frame.values.items())
        arguments = tuple((name, _alike(context, value, places)) for name, value in frame.arguments.items())
    except _Unlike:
        return None
    return (id(block), names, arguments)


def _alike(context: Context, value: Any, places: Mapping[int, int]) -> Hashable:
    """What must be equal of two values for their calls to be the same. Raises _Unlike."""
    if isinstance(value, Constant | Parameter):
        return value
    if isinstance(value, Value):
        return (value.type, context.graph.known(value), places[id(value)])
    if isinstance(value, float):
        return (float, repr(value))  # 0 and -0 are equal
    if value is None or isinstance(value, bool | int | str | Dim | TensorType):
        return (type(value), value)
    if isinstance(value, list | tuple):
        return (type(value), *(_alike(context, item, places) for item in value))
    raise _Unlike


def _values(value: Any) -> Iterator[Value]:
    if isinstance(value, Value):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(item)


def _mapped(value: Any, values: Mapping[Value, Value]) -> Any:
    if isinstance(value, Value):
        return values.get(value, value)
    return type(value)(_mapped(item, values) for item in value) if isinstance(value, list | tuple) else value
