"""Calls of ops: bind inputs, arguments and weights, run the shape rule, add a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.compiler.elaborate.adapted import adapted
from lamina.compiler.elaborate.bodies import around, set_blocks
from lamina.compiler.elaborate.breaking import breaking
from lamina.compiler.elaborate.budget import OP
from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.indices import check_indices
from lamina.compiler.elaborate.inputs import Ahead
from lamina.compiler.elaborate.op_arguments import bound_op
from lamina.compiler.elaborate.operands import as_tensors, operands
from lamina.compiler.elaborate.scope import HERE, Scope
from lamina.compiler.elaborate.slots import fill, known_names
from lamina.compiler.elaborate.values import UNKNOWN, Poisoned, Request
from lamina.compiler.elaborate.weights import bound_weights, given_weights, weight_names
from lamina.compiler.graph import Constant, Parameter, Value
from lamina.compiler.op import Op, OpError, signature
from lamina.schema.diagnostics import Fault, Note, Span


def call_op(context: Context, op: type[Op], request: Request) -> Any:
    """The output, or the list of outputs. Raises Fault or Poisoned."""
    sign, ahead = signature(op), Ahead(context)
    known = (*sign.inputs, *sign.arguments, *weight_names(op))
    named, misspelt = known_names(context, request.named, known, f"`{op.name}`", request.span)
    scope = context.scope.enter(request.label or HERE)
    inputs, left = operands(op, request, ahead)
    weights = given_weights(op, named, ahead)
    plain = {k: v for k, v in named.items() if k not in weights}
    slots = fill(sign.arguments, (*left, *request.arguments), plain, f"`{op.name}`")
    supplied = {k: ahead.value(g) for k, g in weights.items()}
    set_blocks(op, slots, inputs, scope, request.span, ahead)
    bound = bound_op(op, slots, supplied, misspelt, request.span, ahead)
    if misspelt or any(v is UNKNOWN for v in (*inputs, *supplied.values())):
        raise Poisoned
    first, others = inputs[:1], inputs[1:]

    def run(x: Any, inner: Scope) -> Any:
        return _apply(context, bound, [x, *others] if first else others, supplied, inner, request.span)

    return adapted(context, scope, first[0] if first else None, run)


def _apply(context: Context, op: Op, inputs: Sequence[Any], supplied: Mapping[str, Any], scope: Scope, span: Span) -> Any:
    context.budget.work(OP)
    tensors = as_tensors(context.graph, op, inputs, span)
    types = [t.type if t is not None else None for t in tensors]
    try:
        result = op.infer(*types)
        check_indices(context, op, tensors)
        weights = op.parameters(*types)
    except OpError as error:
        notes = error.notes or [*_made(context, tensors), *breaking(context, op, types)]
        raise Fault(error.code, f"`{op.name}`: {error.message}", span, error.hint, notes) from error
    bound = bound_weights(context, op, weights, supplied, scope, span)
    return context.graph.node(op, tensors, {**bound, **around(op)}, result, scope, span)


def _made(context: Context, tensors: Sequence[Value | None]) -> list[Note]:
    """Where each input was made."""
    notes = []
    for value in tensors:
        origin = context.graph.origins.get(id(value)) if value is not None else None
        if origin is not None and value is not None and not isinstance(value, Constant | Parameter):
            notes.append(Note(f"{value.type} is made here", origin.span))
    return list(dict.fromkeys(notes))  # one tensor may be several inputs
