"""Inputs of ops as tensors: a number or a size becomes a scalar of the other inputs' dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina.compiler.elaborate.emit import Emitter
from lamina.compiler.elaborate.inputs import Ahead, Inputs
from lamina.compiler.elaborate.lookup import need_op
from lamina.compiler.elaborate.values import UNKNOWN, Given, Request
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Value
from lamina.compiler.op import Op, signature
from lamina.schema.diagnostics import Fault, Span
from lamina.schema.dims import FLOATS, Dim


def operands(op: type[Op], request: Request, ahead: Ahead) -> tuple[list[Any], list[Given]]:
    """The input values of an op in order (tensors, numbers, None, UNKNOWN), and the positional arguments that are left."""
    sign = signature(op)
    if sign.variadic:
        return _variadic(op, request, ahead)
    taker = Inputs(sign.inputs, sign.required, lambda key: _needs(op, key, request), ahead.is_optional_tensor)
    found, left = taker.take(request.inputs, request.named)
    optional = sign.inputs[sign.required :]
    return [None if g is None else _operand(op, k, g, ahead, optional=k in optional) for k, g in found.items()], left


def _variadic(op: type[Op], request: Request, ahead: Ahead) -> tuple[list[Any], list[Given]]:
    pending, found = list(request.inputs), []
    key = signature(op).inputs[-1]
    if pending and isinstance(first := ahead.value(pending[0]), list):
        return _listed(op, first, pending[0]), pending[1:]
    while pending and ahead.is_tensor(pending[0]):
        found.append(_operand(op, key, pending.pop(0), ahead))
    if not found:
        raise _needs(op, key, request)
    return found, pending


def _listed(op: type[Op], values: list[Any], given: Given) -> list[Any]:
    """Inputs given as a list."""
    if not values:
        raise Fault("value", f"the list given to `{op.name}` is empty, but it needs a tensor at least", given.span)
    for index, value in enumerate(values):
        if value is not UNKNOWN and not isinstance(value, Value | bool | int | float | Dim):
            message = f"element {index} of the list given to `{op.name}` must be a tensor, but it is {shown(value)}"
            raise Fault("type", message, given.span)
    return values


def _operand(op: type[Op], key: str, given: Given, ahead: Ahead, *, optional: bool = False) -> Any:
    value = ahead.value(given)
    if value is UNKNOWN or (value is None and optional) or isinstance(value, Value | bool | int | float | Dim):
        return value
    raise Fault("type", f"the input `{key}` of `{op.name}` must be a tensor, but it is {shown(value)}", given.span)


def _needs(op: type[Op], key: str, request: Request) -> Fault:
    hint = f"write `{op.name}({', '.join(signature(op).inputs)})` with a value for each"
    return Fault("missing-argument", f"`{op.name}` needs the input `{key}`", request.span, hint)


def as_tensors(graph: Emitter, op: Op | type[Op], inputs: Sequence[Any], span: Span) -> list[Value | None]:
    """The inputs, numbers made constants and sizes scalars. Raises Fault for a fraction beside integers."""
    dtype = next((v.dtype for v in inputs if isinstance(v, Value) and v.dtype != "bool"), None)
    return [v if v is None or isinstance(v, Value) else _scalar(graph, op, v, dtype, span) for v in inputs]


def _scalar(graph: Emitter, op: Op | type[Op], value: bool | int | float | Dim, others: str | None, span: Span) -> Value:
    if isinstance(value, Dim):
        return graph.size(need_op("size").op, value, others or "int64", span)
    dtype = others or ("bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else "float32")
    if isinstance(value, float) and dtype not in FLOATS:
        message = f"`{op.name}`: the number {value} and a tensor of {dtype} do not fit together"
        raise Fault("dtype", message, hint="convert the tensor with cast(x, 'float32')")
    return graph.constant(value, dtype)
