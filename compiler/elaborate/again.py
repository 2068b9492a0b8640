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
from lamina.compiler.op import Weight, block_arguments
from lamina.schema.dims import Dim, TensorType
from lamina.schema.spec import Block

NODE, WEIGHT = 6, 4  # evaluations that their copies are as much work as


class _Unlike(Exception):
    """It cannot be told that two calls are the same."""


@final
@dataclass(frozen=True, slots=True)
class _Output:
    """What a value's name is made of: a path below the block's, the count when it was made, and which output of several it is."""

    below: str
    number: int
    place: str

    @classmethod
    def of(cls, value: Value, path: str) -> Self:
        below, _, number = value.name.removeprefix(path).rpartition("#")
        digits, dot, place = number.partition(".")
        return cls(below, int(digits), dot + place)

    def at(self, path: str, shift: int) -> str:
        """The name under another path, so many later."""
        return f"{path}{self.below}#{self.number + shift}{self.place}"


@final
@dataclass(frozen=True, slots=True)
class Recording:
    """What one call of a block made: the values that it was given, its nodes with the names of their outputs, and its result."""

    path: str
    start: int  # the count before it
    count: int  # how far it went on
    given: tuple[Value, ...]
    nodes: tuple[tuple[Node, tuple[_Output, ...]], ...]
    weights: int  # how often nodes read one
    result: Any

    def copied(self, context: Context, given: Sequence[Value], path: str) -> Any:
        """The same for other values, under another path. Raises Fault where a weight has that path already, or it is too much."""
        graph, shift = context.graph, context.graph.count - self.start
        context.budget.work(NODE * len(self.nodes) + WEIGHT * self.weights)
        values: dict[Value, Value] = dict(zip(self.given, given, strict=True))
        for node, names in self.nodes:
            for value in node.inputs:
                if isinstance(value, Parameter) and value not in values:
                    values[value] = self._weight(context, value, path)
            inputs = tuple([None if v is None else values.get(v, v) for v in node.inputs])
            outputs = tuple([Value(name.at(path, shift), v.type) for name, v in zip(names, node.outputs, strict=True)])
            origin = Origin(node.origin.span, path + node.origin.path.removeprefix(self.path), node.origin.form)
            graph.nodes.append(Node(node.op_type, inputs, outputs, origin, node.attributes, node.domain, node.op))
            for old, new in zip(node.outputs, outputs, strict=True):
                values[old] = new
                graph.origins[id(new)] = origin
                if (known := graph.known(old)) is not None:
                    graph.integers[id(new)] = (new, known)
        graph.count += self.count
        return _mapped(self.result, values)

    def _weight(self, context: Context, weight: Parameter, path: str) -> Parameter:
        """The weight of that name under the other path. One from elsewhere is the same."""
        if weight.type is None or weight.origin is None or not f"{weight.name}.".startswith(f"{self.path}."):
            return weight
        return context.graph.parameter(
            path + weight.name.removeprefix(self.path), Weight(weight.type, weight.init, weight.trainable), False, weight.origin.span
        )


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
            named = tuple((node, tuple(_Output.of(v, scope.path) for v in node.outputs)) for node in nodes)
            weights = sum(isinstance(v, Parameter) for node in nodes for v in node.inputs)
            context.runs[key] = Recording(scope.path, count, context.graph.count - count, given, named, weights, result)
    context.runs.setdefault(key, None)
    return result


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
