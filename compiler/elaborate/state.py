"""`state:`: what is carried from call to call. A body sees what the last call left, and leaves what the next one sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.interface import holds, renamed, tensor_type
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import UNKNOWN, Frame
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Origin, State, Value
from lamina.schema.diagnostics import Fault, Note, Span
from lamina.schema.dims import FLOATS, Dim, Size, Symbol, TensorType
from lamina.schema.spec import TensorDecl

TypeOf = Callable[[Context, TensorDecl, Frame], TensorType]


@dataclass(frozen=True, slots=True)
class Carried:
    """A state of one call, and what it was when the call began."""

    decl: TensorDecl
    state: State
    past: Value


@dataclass(frozen=True, slots=True)
class Left:
    """A state of one call when that has ended."""

    state: State
    past: Value
    present: Value
    span: Span


def enter_states(context: Context, declared: Iterable[TensorDecl], frame: Frame, type_of: TypeOf = tensor_type) -> list[Carried]:
    """Add a call's states to its frame, as they are before it. Those that this config has not are null."""
    found: list[Carried] = []
    for decl in declared:
        frame.values[decl.name] = UNKNOWN
        if context.guard(lambda d=decl: holds(context, d, frame), decl.span) is False:  # type: ignore[misc]
            frame.values[decl.name] = None
        elif carried := context.guard(lambda d=decl: _enter(context, d, frame, type_of), decl.span):  # type: ignore[misc]
            frame.values[decl.name] = carried.past
            found.append(carried)
    return found


def leave_states(context: Context, carried: Sequence[Carried], frame: Frame) -> None:
    """Take a call's states from its frame, as they are after it."""
    for entered in carried:
        value = frame.values.get(entered.decl.name)
        if value is not UNKNOWN:
            context.guard(lambda e=entered, v=value: _leave(context, e, v), entered.decl.span)  # type: ignore[misc]


def present_values(context: Context) -> list[Value]:
    """What the model gives of its states, in order of the calls that end."""
    return [renamed(context, left.present, left.state.present, left.span) for left in context.states]


def _enter(context: Context, decl: TensorDecl, frame: Frame, type_of: TypeOf) -> Carried:
    if context.graph.depth:
        message = f"the state `{decl.name}` would be carried by steps that run again and again within a call"
        raise Fault("state", message, decl.span, "name what those steps hand on in their `carry:`, or call this block outside them")
    name = context.state_names.unique(context.scope.join(decl.name))
    state = State(name, _initial(context, decl, frame))
    past = Value(state.past, type_of(context, decl, frame))
    context.graph.origins[id(past)] = Origin(decl.span, name)
    return Carried(decl, state, past)


def _initial(context: Context, decl: TensorDecl, frame: Frame) -> float | int | bool:
    """What every place starts at. Raises Fault or Poisoned."""
    wanted: type = float if decl.dtype in FLOATS else bool if decl.dtype == "bool" else int
    if decl.init is None:
        return wanted()  # type: ignore[no-any-return]
    found = formula(context, decl.init, frame)
    fits = isinstance(found, int | float) and math.isfinite(found) and isinstance(found, bool) == (wanted is bool)
    if not fits or (wanted is int and not isinstance(found, int)):
        raise Fault("type", f"`init` of `{decl.name}` must be a finite number of {decl.dtype}, but it is {shown(found)}", decl.init.span)
    return wanted(found)  # type: ignore[no-any-return]


def _leave(context: Context, entered: Carried, value: object) -> None:
    decl, past = entered.decl, entered.past
    if not isinstance(value, Value):
        raise Fault("state", f"the state `{decl.name}` must be a tensor at the end of the body, but it is {shown(value)}", decl.span)
    if value is past:
        hint = f"assign what the next call is to see, as in `{decl.name} = ...`, or make it an input"
        raise Fault("state", f"nothing in the body changes the state `{decl.name}`", decl.span, hint)
    _check_growth(context, entered, value)
    context.states.append(Left(entered.state, past, value, decl.span))


def _check_growth(context: Context, entered: Carried, value: Value) -> None:
    """What a call leaves has the type that it found, but that a dim of its own may have grown. Raises Fault."""
    past = entered.past
    fits = value.dtype == past.dtype and value.rank == past.rank
    pairs = list(zip(past.shape, value.shape, strict=True)) if fits else []
    if not fits or not all(after == before or _grows(before, after) for before, after in pairs):
        origin = context.graph.origins.get(id(value))
        notes = [Note(f"{value.type} is made here", origin.span)] if origin else []
        hint = "a call leaves what it finds; only a size that is a dim by itself may grow, by as much as the call adds, as P to P + T"
        message = f"the state `{entered.decl.name}` is {past.type} before the body and {value.type} after it"
        raise Fault("state", message, entered.decl.span, hint, notes)
    for before, after in pairs:
        if after != before and context.growth.setdefault(str(before), after) != after:
            message = f"the state `{entered.decl.name}` takes {before} to {after}, but another takes it to {context.growth[str(before)]}"
            raise Fault("state", message, entered.decl.span, "states that grow along one dim grow together; give this one a dim of its own")


def _grows(before: Size, after: Size) -> bool:
    """Whether a dim by itself became itself and something that does not depend on it."""
    symbol = next(iter(before.symbols)) if isinstance(before, Dim) and len(before.symbols) == 1 else None
    if not isinstance(symbol, Symbol) or before != Dim.of(symbol):
        return False
    more = after - before
    return symbol not in more.symbols if isinstance(more, Dim) else more > 0
