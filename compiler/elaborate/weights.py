"""The weights of an op: made at a path, or given as values."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.inputs import Ahead
from lamina.compiler.elaborate.scope import Scope
from lamina.compiler.elaborate.values import Given
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Value
from lamina.compiler.op import Op, Weight, signature
from lamina.schema.diagnostics import Fault, Span


@cache
def weight_names(op: type[Op]) -> tuple[str, ...]:
    """The weights that an op may have: what its definition takes beyond its inputs."""
    parameters = inspect.signature(op.define).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD][2:]
    return tuple(n for n in names if n not in signature(op).inputs)


def given_weights(op: type[Op], named: Mapping[str, Given], ahead: Ahead) -> dict[str, Given]:
    """The weights given as values. `bias` is both an argument of `conv` and a weight of it: a tensor is the weight."""
    own = signature(op).arguments
    return {k: named[k] for k in weight_names(op) if k in named and (k not in own or ahead.is_tensor(named[k]))}


def bound_weights(
    context: Context, op: Op, weights: Mapping[str, Weight], supplied: Mapping[str, Any], scope: Scope, span: Span
) -> dict[str, Value]:
    """Every weight that the op needs, in its order. Raises Fault."""
    for key in supplied:
        if key not in weights:
            raise Fault("unknown-argument", f"`{op.name}` has no weight `{key}` here", span, f"it has {', '.join(weights) or 'none'}")
    found = {}
    for key, weight in weights.items():
        if key in supplied:
            found[key] = _fitting(op, key, weight, supplied[key], span)
        else:
            found[key] = context.graph.parameter(scope.join(key), weight, scope.shared, span)
    return found


def _fitting(op: Op, key: str, weight: Weight, value: Any, span: Span) -> Value:
    if isinstance(value, Value) and value.type == weight.type:
        return value
    given = value.type if isinstance(value, Value) else shown(value)
    raise Fault("shape", f"`{op.name}`: the weight `{key}` must be {weight.type}, but it is {given}", span)
