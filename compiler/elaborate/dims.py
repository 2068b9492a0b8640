"""The dynamic sizes: those whose range the file states, and those that follow the config."""

from __future__ import annotations

import ast

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.numbers import whole_number
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import UNKNOWN, Frame
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import Dim, Symbol, bounds, compare
from lamina.schema.expressions import Expression
from lamina.schema.sections import DimDecl


def fixed_dims(context: Context) -> None:
    """Declare every dim that needs no config, which the config may use."""
    for name, decl in context.spec.dims.items():
        if not decl.expressions:
            low, typical, high, unit = map(_fixed, (decl.min, decl.opt, decl.max, decl.multiple_of))
            _declare(context, Symbol(name, low, typical, high, unit))


def computed_dims(context: Context, frame: Frame) -> None:
    """Declare those of the others that need no config entry still to come. What is wrong is reported, and unknown from then on."""
    for name, decl in context.spec.dims.items():
        if name not in context.globals and not _later(context, decl):
            context.globals[name] = UNKNOWN
            symbol = context.guard(lambda n=name, d=decl: _narrowed(context, n, d, frame), decl.span)  # type: ignore[misc]
            if symbol is not None:
                _declare(context, symbol)
    context.dims = {name: context.dims[name] for name in context.spec.dims if name in context.dims}


def _later(context: Context, decl: DimDecl) -> bool:
    names = {node.id for e in decl.expressions for node in ast.walk(e.tree) if isinstance(node, ast.Name)}
    return not names.isdisjoint(context.later)


def _fixed(bound: int | Expression) -> int:
    assert isinstance(bound, int)
    return bound


def _declare(context: Context, symbol: Symbol) -> None:
    context.dims[symbol.name] = symbol
    context.globals[symbol.name] = Dim.of(symbol)


def _narrowed(context: Context, name: str, decl: DimDecl, frame: Frame) -> Symbol:
    """The dim within the multiples that lie in its range. Raises Fault or Poisoned."""
    unit = whole_number(context, decl.multiple_of, frame, f"`{name}` must be a multiple of", "dims")
    most, beside = _largest(context, name, decl, frame)
    least = whole_number(context, decl.min, frame, f"the `min` of `{name}` must be", "dims", least=0)
    typical = whole_number(context, decl.opt, frame, f"the `opt` of `{name}` must be", "dims", least=0)
    low, high = -(-least // unit) * unit, most // unit * unit
    if low > high:
        what = f"no multiple of {unit} lies" if unit > 1 else "nothing lies"
        first = decl.expressions[0]
        raise Fault("dims", f"{what} within the range of `{name}`, {least} to {most}", first.place(first.tree))
    wanted = min(max(low, typical // unit * unit), high)
    if beside is None:
        return Symbol(name, low, wanted, high, unit)
    _check_room(name, decl, beside, low, unit)
    return Symbol(name, low, min(wanted, beside.evaluate({s.name: s.opt for s in beside.symbols})), high, unit, beside)


def _check_room(name: str, decl: DimDecl, beside: Dim, low: int, unit: int) -> None:
    """Raise Fault unless there is some room whatever the other dims are, and no more than sums of these say how much."""
    if not all(isinstance(atom, Symbol) for monomial, _ in beside.terms for atom in monomial):
        why = "which divides; write a sum of dims and numbers"
    elif unit > 1:
        why = f"and cannot be a multiple of {unit}, too"
    elif not compare(beside, ">=", low):
        why = f"which can be as small as {bounds(beside)[0]}, so it cannot begin at {low}"
    else:
        return
    raise Fault("dims", f"`{name}` is at most {beside}, {why}", decl.span)


def _largest(context: Context, name: str, decl: DimDecl, frame: Frame) -> tuple[int, Dim | None]:
    """The largest that a dim can be, and what it can be beside others, where its `max` is a size."""
    if isinstance(decl.max, Expression) and isinstance(size := formula(context, decl.max, frame), Dim):
        return bounds(size)[1], size
    return whole_number(context, decl.max, frame, f"the `max` of `{name}` must be", "dims"), None
