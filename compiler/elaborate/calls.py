"""Calls: the same for ops, blocks, modules and flows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from lamina.compiler.elaborate.adapted import call_original
from lamina.compiler.elaborate.block_calls import call_block, call_flow
from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.op_calls import call_op
from lamina.compiler.elaborate.resolve import resolve
from lamina.compiler.elaborate.scope import HERE, Label, Scope
from lamina.compiler.elaborate.values import BlockCallee, Callee, Given, Module, OpCallee, Original, Partial, Request
from lamina.compiler.elaborate.wants import Want
from lamina.compiler.elaborate.words import shown
from lamina.schema.diagnostics import Fault, Span

MAX_DEPTH = 100


def call(context: Context, callee: Callee, request: Request) -> Any:
    """Call anything. Raises Fault or Poisoned."""
    if isinstance(callee, Partial):
        return call(context, callee.callee, _completed(callee, request))
    if isinstance(callee, Module):
        return _module(context, callee, request)
    if isinstance(callee, Original):
        return call_original(context, callee, request)
    request = _labelled(context, callee, request)
    if isinstance(callee, OpCallee):
        return call_op(context, callee.op, request)
    with _deeper(context, callee.name, request.span):
        return call_block(context, callee, request) if isinstance(callee, BlockCallee) else call_flow(context, callee, request)


def _completed(partial: Partial, request: Request) -> Request:
    """The request with the partial's arguments; what the request names itself goes before them."""
    label = request.label or Label(partial.name, fixed=False)
    arguments = (*request.arguments, *partial.positional)
    return replace(request, arguments=arguments, named={**partial.named, **request.named}, label=label)


def _module(context: Context, module: Module, request: Request) -> Any:
    """Every call starts from the same fresh scope, so it names, and so shares, the same weights; what it is given is named outside."""
    outside = context.scope
    inputs, arguments = (tuple(replace(g, scope=outside) for g in given) for given in (request.inputs, request.arguments))
    named = {name: replace(given, scope=outside) for name, given in request.named.items()}
    with context.within(Scope(module.path, shared=True)):
        return call(context, module.callee, Request(request.span, inputs, arguments, named, HERE))


def _labelled(context: Context, callee: Callee, request: Request) -> Request:
    """The request with what its weights are named by: `name=`, else the callee's name."""
    label = request.label or Label(callee.name, fixed=False)
    takes_name = isinstance(callee, BlockCallee) and "name" in [a.name for a in callee.block.args]
    if label.fixed or "name" not in request.named or takes_name:
        return request if request.label else replace(request, label=label)
    named = dict(request.named)
    return replace(request, named=named, label=Label(_name(context, named.pop("name"))))


def _name(context: Context, given: Given) -> str:
    value = resolve(context, given, Want(text=True))
    if not isinstance(value, str) or not all(p.isidentifier() or p.isdigit() for p in value.split(".")):
        raise Fault("type", f"`name` must be a text of letters, digits, `_` and dots, not {shown(value)}", given.span)
    return value


@contextmanager
def _deeper(context: Context, name: str, span: Span) -> Iterator[None]:
    context.depth += 1
    if context.depth > MAX_DEPTH:
        context.depth = 0
        raise Fault("limit", f"`{name}` calls itself more than {MAX_DEPTH} deep", span, "a recursion needs an `if` that ends it")
    try:
        yield
    finally:
        context.depth = max(0, context.depth - 1)
