"""Calls of blocks, and of steps written in place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lamina.compiler.elaborate.adapted import adapted
from lamina.compiler.elaborate.again import once
from lamina.compiler.elaborate.body import run_body
from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.convert import convert
from lamina.compiler.elaborate.defaults import default
from lamina.compiler.elaborate.inputs import Ahead, Inputs
from lamina.compiler.elaborate.modules import declare_modules
from lamina.compiler.elaborate.resolve import resolve, tolerant
from lamina.compiler.elaborate.scope import HERE, Scope
from lamina.compiler.elaborate.slots import fill, known_names
from lamina.compiler.elaborate.state import enter_states, leave_states
from lamina.compiler.elaborate.values import UNKNOWN, BlockCallee, FlowCallee, Frame, Given, Poisoned, Request
from lamina.compiler.elaborate.wants import want_of_type
from lamina.compiler.elaborate.words import declared as type_words
from lamina.schema.diagnostics import Fault, Note, Span, did_you_mean
from lamina.schema.spec import Argument, Block


def call_flow(context: Context, callee: FlowCallee, request: Request) -> Any:
    """Run steps that were given as an argument, in the frame that they were written in."""
    if len(request.inputs) != 1 or request.arguments or request.named:
        raise Fault("argument", "steps given as an argument take one input and no arguments", request.span)

    def run(x: Any, inner: Scope) -> Any:
        with context.within(inner):
            return run_body(context, callee.flow, callee.frame.inner(x))

    x = tolerant(context, request.inputs[0])
    return adapted(context, context.scope.enter(request.label or HERE), x, run)


def call_block(context: Context, callee: BlockCallee, request: Request) -> Any:
    """Bind a block's inputs and arguments, and run its body in a scope of its own."""
    block = callee.block
    frame = _frame(context, callee, request)
    context.called.add(block.name)
    first = next(iter(block.inputs), None)

    def run(x: Any, inner: Scope) -> Any:
        values = {**frame.values, first: x} if first else dict(frame.values)
        own = replace(frame, values=values, modules=dict(frame.modules))
        return once(context, block, own, inner, lambda: _run(context, block, own, inner))

    context.callers.append((block.name, request.span))
    try:
        return adapted(context, context.scope.enter(request.label or HERE), frame.values.get(first) if first else None, run)
    finally:
        context.callers.pop()


def _run(context: Context, block: Block, frame: Frame, scope: Scope) -> Any:
    with context.within(scope):
        carried = enter_states(context, block.state, frame)
        declare_modules(context, block.modules, frame)
        result = run_body(context, block.body, frame)
        leave_states(context, carried, frame)
        return result


def _frame(context: Context, callee: BlockCallee, request: Request) -> Frame:
    block, owner, ahead = callee.block, f"the block `{callee.name}`", Ahead(context)
    arguments = [a.name for a in block.args]
    named, misspelt = known_names(context, request.named, [*block.inputs, *arguments], owner, request.span)
    inputs, left = _inputs(block, request.span).take(request.inputs, named)
    slots = fill(arguments, (*left, *request.arguments), named, owner)
    values = {k: None if g is None else ahead.value(g) for k, g in inputs.items()}
    frame = Frame(callee.file, values, globals=context.globals if callee.file is context.spec.file else {})
    for argument in block.args:
        if argument.name not in slots and did_you_mean(argument.name, misspelt):
            frame.arguments[argument.name] = UNKNOWN  # given by a misspelt name
        else:
            frame.arguments[argument.name] = _argument(context, argument, slots.get(argument.name), frame, block, request.span)
    return frame


def _inputs(block: Block, span: Span) -> Inputs:
    def missing(key: str) -> Fault:
        hint = f"write `{block.name}({', '.join(block.inputs)})` with a value for each"
        notes = [Note(f"`{block.name}` is declared here, with the inputs {', '.join(block.inputs)}", block.span)]
        return Fault("missing-argument", f"the block `{block.name}` needs the input `{key}`", span, hint, notes)

    return Inputs(block.inputs, len(block.inputs) - len(block.optional), missing, lambda _: True)


def _argument(context: Context, argument: Argument, given: Given | None, frame: Frame, block: Block, span: Span) -> Any:
    declared, name = argument.type, argument.name
    if given is None and declared.default is None and not declared.optional:
        message = f"the block `{block.name}` needs the argument `{name}`, {type_words(declared)}"
        raise Fault("missing-argument", message, span, f"write `{block.name}: {{{name}: ...}}`", _declared_at(argument))
    if given is None:
        return default(context, declared, frame, name)
    try:
        value = resolve(context, given, want_of_type(declared))
        if value is None and given.by_position and declared.default is not None and not declared.optional:
            return default(context, declared, frame, name)
        return convert(value, declared, f"`{name}` of `{block.name}`", given.span)
    except Poisoned:
        return UNKNOWN
    except Fault as fault:
        fault.notes = (*fault.notes, *(_declared_at(argument) if fault.code == "type" else ()))
        raise


def _declared_at(argument: Argument) -> list[Note]:
    return [Note(f"`{argument.name}` is declared here", argument.span)]
