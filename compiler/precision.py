"""Which weights a precision is of: those that linear layers and convolutions multiply by, under the patterns of the spec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from lamina.compiler.body import Body
from lamina.compiler.graph import Graph, Node, Parameter, Value
from lamina.compiler.op import block_arguments
from lamina.schema.diagnostics import Collector, did_you_mean
from lamina.schema.dims import Precision
from lamina.schema.spec import WeightPrecision

HALF: tuple[Precision, ...] = ("float16", "bfloat16")


def target_of(precision: Precision) -> str | None:
    """The target that has layers in a precision; None for float32, which all have."""
    return None if precision == "float32" else "tensorrt" if precision in HALF else "onnxruntime"


def seen_by(target: str, precision: Precision) -> Precision:
    """What a precision is to a target: float32 where it is another's."""
    return precision if target_of(precision) == target else "float32"


def linear_weights(graph: Graph) -> Iterator[tuple[Node, Value, Parameter]]:
    """Linear layers with the value that they multiply by, and the matrix that it is; in bodies too."""
    named = {id(node.outputs[0]): node.inputs[0] for node in graph.all_nodes() if node.op is not None and node.op.name == "parameter"}
    for node in graph.all_nodes():
        weight = _weight(node)
        pairs = [(node, weight)] if weight is not None else _in_blocks(node)
        for owner, value in pairs:
            matrix = named.get(id(value), value)
            if isinstance(matrix, Parameter) and _fits(matrix):
                yield owner, value, matrix


def conv_weights(graph: Graph) -> Iterator[Parameter]:
    """The filters of convolutions."""
    for node in graph.all_nodes():
        weight = _weight(node, "conv")
        if isinstance(weight, Parameter):
            yield weight


def layer_precisions(graph: Graph, rules: Sequence[WeightPrecision], otherwise: Precision) -> dict[str, Precision]:
    """What linear layers and convolutions are in, by the names of their weights."""
    names = {*(matrix.name for _, _, matrix in linear_weights(graph)), *(weight.name for weight in conv_weights(graph))}
    return {name: precision_of(name, rules, otherwise) for name in sorted(names)}


def without_static(rules: Sequence[WeightPrecision]) -> tuple[WeightPrecision, ...]:
    """The rules, with float32 for what they round in ranges."""
    exact = {"precision": "float32"}
    return tuple(rule.model_copy(update=exact) if rule.precision == "int8-static" else rule for rule in rules)


def _in_blocks(node: Node) -> Iterator[tuple[Node, Value]]:
    """Linear layers of the blocks that an op applies, with the weights that each application has."""
    names: Any = node.attributes.get("weights", ())
    values = dict(zip(names, node.inputs[len(node.inputs) - len(names) :], strict=True))
    for key in block_arguments(type(node.op)) if node.op is not None else ():
        body: Body = getattr(node.op, key)
        places = dict(zip(map(id, body.graph.inputs[len(body.given) :]), body.weights, strict=False))
        for inner in body.graph.all_nodes():
            place = places.get(id(_weight(inner)))
            yield from ((inner, v) for name, v in values.items() if place is not None and v is not None and _is_of(name, place))


def _is_of(name: str, place: str) -> bool:
    """Whether a weight of an op is that of a block, of some application: `3.up.weight` is of `up.weight`."""
    number, _, rest = name.partition(".")
    return rest == place and number.isdecimal()


def _weight(node: Node, op: str = "linear") -> Value | None:
    names = node.attributes.get("weights", ())
    if node.op is None or node.op.name != op or not isinstance(names, tuple) or "weight" not in names:
        return None
    return node.inputs[len(node.inputs) - len(names) + names.index("weight")]


def _fits(matrix: Parameter) -> bool:
    return matrix.rank == 2 and matrix.dtype == "float32" and all(isinstance(size, int) for size in matrix.shape)


def precision_of(name: str, rules: Sequence[WeightPrecision], otherwise: Precision) -> Precision:
    """That of the first rule whose pattern matches a weight's path."""
    return next((rule.precision for rule in rules if fnmatchcase(name, rule.pattern)), otherwise)


def check_precision(graph: Graph, rules: Sequence[WeightPrecision], collector: Collector) -> None:
    """Report patterns that no weight matches which may have that precision: convolutions have no blocks."""
    if not rules:
        return
    linear = {matrix.name for _, _, matrix in linear_weights(graph)}
    convolved = {weight.name for weight in conv_weights(graph)}
    for rule in rules:
        either = rule.precision in ("float32", "int8-static", *HALF)
        names = linear | convolved if either else linear
        if not any(fnmatchcase(name, rule.pattern) for name in names):
            message = f"`{rule.pattern}` matches no weight of a linear layer{' or a convolution' * either}"
            collector.error("unknown-weight", message, rule.span, _hint(rule.pattern, sorted(names), sorted(convolved - names)))


def _hint(pattern: str, names: Sequence[str], convolved: Sequence[str]) -> str:
    """What was meant, perhaps, among the names that may have the precision, or that it is of a convolution, which may not."""
    name = next((name for name in convolved if fnmatchcase(name, pattern)), None)
    if name is not None:
        return f"`{name}` is of a convolution, which may be in float32, int8-static, float16 or bfloat16"
    some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return did_you_mean(pattern, names) or (f"they are {some}" if names else "the model has none")
