"""The model's inputs and outputs: declared types against the graph's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.evaluator import Evaluator
from lamina.compiler.elaborate.lookup import need_op
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import UNKNOWN, Frame, Poisoned
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Origin, Value
from lamina.schema.diagnostics import Fault, Note, Span, did_you_mean
from lamina.schema.dims import Dim, Size, TensorType, counterexample
from lamina.schema.expressions import Expression, names_in
from lamina.schema.spec import TensorDecl


def chosen(context: Context, section: str, decls: Sequence[TensorDecl], frame: Frame) -> list[TensorDecl]:
    """The inputs or outputs that this config has: those whose `if` holds, or that have none."""
    found = [decl for decl in decls if context.guard(lambda d=decl: holds(context, d, frame), decl.span)]  # type: ignore[misc]
    if not found and not context.collector.diagnostics:
        hint = "leave out the `if` of one that every config has"
        context.report(Fault(section[:-1], f"this config has none of the {section}", decls[0].span, hint), decls[0].span)
    return found


def holds(context: Context, decl: TensorDecl, frame: Frame) -> bool:
    """Whether this config has it. Raises Fault or Poisoned."""
    return decl.condition is None or Evaluator(context, decl.condition, frame).truth(decl.condition.tree)


def input_value(context: Context, decl: TensorDecl, frame: Frame) -> Value:
    """An input of the model. Raises Fault or Poisoned."""
    value = Value(decl.name, declared_type(context, decl, frame))
    context.graph.origins[id(value)] = Origin(decl.span, decl.name)
    return value


def output_value(context: Context, decl: TensorDecl, frame: Frame, inputs: Sequence[str], alone: bool) -> Value:
    """The value of an output: the variable of its name, else `x` where it stands alone. Raises Fault or Poisoned."""
    declared = declared_type(context, decl, frame)
    if decl.name in inputs:
        raise Fault("output", f"`{decl.name}` is both an input and an output", decl.span, "give the output another name")
    value = _found(decl, frame, alone)
    if not isinstance(value, Value):
        raise Fault("output", f"the output `{decl.name}` must be a tensor, but it is {shown(value)}", decl.span)
    if value.type != declared:
        raise _differs(context, decl, value, declared)
    return value


def renamed(context: Context, value: Value, name: str, span: Span) -> Value:
    """An output under its name: by an `identity` at the end, which lowering turns into a rename."""
    return context.graph.output(need_op("identity").op(), value, name, span)


def _found(decl: TensorDecl, frame: Frame, alone: bool) -> Any:
    value = frame.values.get(decl.name)
    if value is None and alone:
        value = frame.values.get("x")
    if value is UNKNOWN or (value is None and frame.lost):
        raise Poisoned
    if value is None:
        raise Fault("output", f"nothing in the body is named `{decl.name}`", decl.span, f"write `{decl.name} = x` where it is ready")
    return value


def declared_type(context: Context, decl: TensorDecl, frame: Frame) -> TensorType:
    """The type of a tensor that a section of the model declares, whose sizes are dims and config values. Raises Fault or Poisoned."""
    for expression in decl.shape:
        for name in sorted(names_in(expression.tree) - set(context.globals)):
            hint = did_you_mean(name, context.globals) or f"add `{name}: {{min: 1, opt: 8, max: 64}}` to `dims:`"
            context.globals[name] = UNKNOWN  # one message is enough
            raise Fault("dims", f"the size `{name}` is neither in `dims` nor in `config`", expression.place(expression.tree), hint)
    return tensor_type(context, decl, frame)


def tensor_type(context: Context, decl: TensorDecl, frame: Frame) -> TensorType:
    """The type of a tensor whose sizes are expressions over what the frame sees. Raises Fault or Poisoned."""
    return TensorType(decl.dtype, tuple(_size(context, expression, frame) for expression in decl.shape))


def _size(context: Context, expression: Expression, frame: Frame) -> Size:
    place = expression.place(expression.tree)
    size = formula(context, expression, frame)
    if isinstance(size, bool) or not isinstance(size, int | Dim) or (isinstance(size, int) and size < 0):
        raise Fault("dims", f"a size must be a whole number of at least 0, but it is {shown(size)}", place)
    return size


def _differs(context: Context, decl: TensorDecl, value: Value, declared: TensorType) -> Fault:
    origin = context.graph.origins.get(id(value))
    notes = [Note(f"{value.type} is made here", origin.span)] if origin else []
    pairs = zip(value.shape, declared.shape, strict=False)
    env = next((e for e in (counterexample(a, b) for a, b in pairs if isinstance(a - b, Dim)) if e), {})
    example = f"; they differ at {', '.join(f'{k} = {v}' for k, v in env.items())}" if env else ""
    hint = f"declare it as `{value.type}`, or change the last steps{example}"
    return Fault("output", f"the output `{decl.name}` is declared {declared}, but it is {value.type}", decl.span, hint, notes)
