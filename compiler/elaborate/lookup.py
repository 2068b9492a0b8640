"""Names to what they call: locals that hold a callee, modules, block arguments, the file's blocks, imports, ops."""

from __future__ import annotations

from typing import NoReturn

from lamina.compiler.elaborate.values import CALLEES, UNKNOWN, BlockCallee, Callee, Frame, Module, OpCallee, Partial, Poisoned
from lamina.compiler.op import signature
from lamina.compiler.registry import find_op, op_names
from lamina.schema.diagnostics import Fault, Span, did_you_mean


def find_callee(name: str, frame: Frame) -> Callee | None:
    """What a name calls, or None."""
    if isinstance(local := frame.values.get(name), CALLEES):
        return local
    if name in frame.modules:
        return frame.modules[name]
    for held in (frame.arguments, frame.globals):
        if isinstance(found := held.get(name), CALLEES):
            return found
    for file in (frame.file, *frame.file.imports):
        if name in file.blocks:
            return BlockCallee(file.blocks[name], file)
    op = find_op(name)
    return OpCallee(op) if op is not None else None


def need_callee(name: str, frame: Frame, span: Span) -> Callee:
    """As find_callee. Raises Fault, or Poisoned for an argument that failed."""
    return find_callee(name, frame) or _refuse(name, frame, span)


def need_op(name: str) -> OpCallee:
    """The op of that name, which the language itself relies on."""
    op = find_op(name)
    assert op is not None, name
    return OpCallee(op)


def first_input(callee: Callee) -> str:
    """The name of the first input that a callee takes, or an empty string."""
    while isinstance(callee, Partial | Module):
        callee = callee.callee
    if isinstance(callee, OpCallee):
        return next(iter(signature(callee.op).inputs), "")
    return next(iter(callee.block.inputs), "") if isinstance(callee, BlockCallee) else "x"


def _refuse(name: str, frame: Frame, span: Span) -> NoReturn:
    if any(names.get(name) is UNKNOWN for names in (frame.values, frame.arguments, frame.globals)):
        raise Poisoned
    if name in frame.visible():
        raise Fault("type", f"`{name}` is a value, not something to call", span)
    hint = did_you_mean(name, _known(frame)) or "`lamina schema` lists every op"
    raise Fault("unknown-op", f"there is no op, block or module named `{name}`", span, hint)


def _known(frame: Frame) -> list[str]:
    held = [a for names in (frame.values, frame.arguments) for a, v in names.items() if isinstance(v, CALLEES)]
    blocks = [b for file in (frame.file, *frame.file.imports) for b in file.blocks]
    return [*frame.modules, *held, *blocks, *op_names()]
