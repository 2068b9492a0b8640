"""Inputs of ops as tensors: a number becomes a scalar of the other inputs' dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina.compiler.elaborate.emit import Emitter
from lamina.compiler.elaborate.inputs import Ahead, Inputs
from lamina.compiler.elaborate.values import UNKNOWN, Given, Request
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Value
from lamina.compiler.op import Op, signature
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import FLOATS


def operands(op: type[Op], request: Request, ahead: Ahead) -> tuple[list[Any], list[Given]]:
    """The input values of an op in order (tensors, numbers, None, UNKNOWN), and the positional arguments that are left."""
    sign = signature(op)
    if sign.variadic:
        return _variadic(op, request, ahead)
    taker = Inputs(sign.inputs, sign.required, lambda key: _needs(op, key, request))
    found, left = taker.take(request.inputs, request.named, ahead)
    optional = sign.inputs[sign.required :]
    return [None if g is None else _operand(op, k, g, ahead, optional=k in optional) for k, g in found.items()], left


def _variadic(op: type[Op], request: Request, ahead: Ahead) -> tuple[list[Any], list[Given]]:
    pending, found = list(request.inputs), []
    key = signature(op).inputs[-1]
    if pending and isinstance(first := ahead.value(pending[0]), list):
        return first, pending[1:]
    while pending and ahead.is_tensor(pending[0]):
        found.append(_operand(op, key, pending.pop(0), ahead))
    if not found:
        raise _needs(op, key, request)
    return found, pending


def _operand(op: type[Op], key: str, given: Given, ahead: Ahead, *, optional: bool = False) -> Any:
    value = ahead.value(given)
    if value is UNKNOWN or (value is None and optional) or isinstance(value, Value | bool | int | float):
        return value
    raise Fault("type", f"the input `{key}` of `{op.name}` must be a tensor, but it is {shown(value)}", given.span)


def _needs(op: type[Op], key: str, request: Request) -> Fault:
    hint = f"write `{op.name}({', '.join(signature(op).inputs)})` with a value for each"
    return Fault("missing-argument", f"`{op.name}` needs the input `{key}`", request.span, hint)


def as_tensors(graph: Emitter, op: Op, inputs: Sequence[Any]) -> list[Value | None]:
    """The inputs, numbers made constants. Raises Fault for a fraction beside integers."""
    dtype = next((v.dtype for v in inputs if isinstance(v, Value) and v.dtype != "bool"), None)
    return [v if v is None or isinstance(v, Value) else _constant(graph, op, v, dtype) for v in inputs]


def _constant(graph: Emitter, op: Op, value: bool | int | float, others: str | None) -> Value:
    dtype = others or ("bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else "float32")
    if isinstance(value, float) and dtype not in FLOATS:
        message = f"`{op.name}`: the number {value} and a tensor of {dtype} do not fit together"
        raise Fault("dtype", message, hint="convert the tensor with cast(x, 'float32')")
    return graph.constant(value, dtype)
