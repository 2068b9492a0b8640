"""An argument as it was written, read as the type that is due: a literal, an expression, or steps in place."""

from __future__ import annotations

import ast
from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.evaluator import Evaluator, evaluate
from lamina.compiler.elaborate.lookup import need_callee
from lamina.compiler.elaborate.values import UNKNOWN, Callee, FlowCallee, Frame, Given, Partial, Poisoned
from lamina.compiler.elaborate.wants import ANYTHING, Want
from lamina.schema.diagnostics import Fault
from lamina.schema.expressions import Expression, parse_expression
from lamina.schema.spec import Call
from lamina.schema.steps import StepReader
from lamina.schema.tree import Mapping, Node, Scalar, Sequence


def resolve(context: Context, given: Given, want: Want) -> Any:
    """An argument's value. Raises Fault or Poisoned."""
    if given.scope is None:
        return _resolved(context, given, want)
    with context.within(given.scope):
        return _resolved(context, given, want)


def _resolved(context: Context, given: Given, want: Want) -> Any:
    source = given.source
    if source is None:
        if given.value is UNKNOWN:
            raise Poisoned
        return given.value
    if isinstance(source, ast.expr):
        assert given.expression is not None
        evaluator = Evaluator(context, given.expression, given.frame)
        return evaluator.callee(source) if want.blocks else evaluator.value(source)
    return _tree(context, source, want, given.frame)


def tolerant(context: Context, given: Given) -> Any:
    """An input, or UNKNOWN when it is wrong or what should have made it failed: the rest of the call is checked all the same."""
    try:
        return resolve(context, given, ANYTHING)
    except Poisoned:
        return UNKNOWN
    except Fault as fault:
        if fault.code == "limit":
            raise
        context.report(fault, given.span)
        return UNKNOWN


def formula(context: Context, expression: Expression, frame: Frame, want: Want = ANYTHING) -> Any:
    """The value of an expression. Raises Fault or Poisoned."""
    evaluator = Evaluator(context, expression, frame)
    return evaluator.callee(expression.tree) if want.blocks else evaluate(evaluator)


def _tree(context: Context, node: Node, want: Want, frame: Frame) -> Any:
    if isinstance(node, Scalar):
        return _scalar(context, node, want, frame)
    if want.block and (isinstance(node, Mapping) or want.item is None):
        return _in_place(context, node, frame)
    if isinstance(node, Sequence):
        return [_tree(context, i, want.item or Want(choices=want.choices), frame) for i in node.items]
    raise Fault("type", "a mapping is not a value here", node.span)


def _scalar(context: Context, node: Scalar, want: Want, frame: Frame) -> Any:
    if not isinstance(node.value, str):
        return node.value
    if node.text in want.choices:
        return node.text
    if want.text:
        return _text(node, frame)
    try:
        return formula(context, parse_expression(node), frame, want)
    except Fault as fault:
        if want.choices and fault.code == "undefined-name" and node.text.isidentifier():
            return node.text  # a misspelt choice, which the op refuses with the choices that there are
        raise


def _text(node: Scalar, frame: Frame) -> str:
    """What is written; but a plain word that names a text (a config value, an argument) passes that text on."""
    if node.plain and node.text.isidentifier():
        for names in (frame.values, frame.arguments, frame.globals):
            if isinstance(found := names.get(node.text), str):
                return found
    return node.text


def _in_place(context: Context, node: Node, frame: Frame) -> Callee:
    """Steps, or one call, written where a block is due."""
    flow = context.in_place.get(id(node))
    if flow is None:
        flow = context.in_place[id(node)] = StepReader(context.collector).flow(node)
    if len(flow.steps) == 1 and isinstance(call := flow.steps[0], Call):
        return _partial(call, frame)
    return FlowCallee(flow, frame)


def _partial(call: Call, frame: Frame) -> Callee:
    callee = need_callee(call.callee.text, frame, call.callee.span)
    positional, named = written(call, frame)
    return Partial(callee, positional, named) if positional or named else callee


def written(call: Call, frame: Frame) -> tuple[tuple[Given, ...], dict[str, Given]]:
    """The arguments of a call in the form of YAML: the first one, and those by name."""
    first = () if call.first is None else (Given(call.first.span, frame, call.first),)
    return first, {k.text: Given(v.span, frame, v, key=k.span) for k, v in call.named}
