"""The dynamic sizes: those whose range the file states, and those that follow the config."""

from __future__ import annotations

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import UNKNOWN, Frame
from lamina.compiler.elaborate.words import shown
from lamina.schema.diagnostics import Fault, Span
from lamina.schema.dims import Dim, Symbol
from lamina.schema.expressions import Expression
from lamina.schema.sections import DimDecl


def fixed_dims(context: Context) -> None:
    """Declare every dim that needs no config, which the config may use."""
    for name, decl in context.spec.dims.items():
        if isinstance(decl.multiple_of, int) and isinstance(decl.max, int):
            _declare(context, Symbol(name, decl.min, decl.opt, decl.max, decl.multiple_of))


def computed_dims(context: Context, frame: Frame) -> None:
    """Declare the others. What is wrong with one is reported, and it is unknown from then on."""
    for name, decl in context.spec.dims.items():
        if not (isinstance(decl.multiple_of, int) and isinstance(decl.max, int)):
            context.globals[name] = UNKNOWN
            symbol = context.guard(lambda n=name, d=decl: _narrowed(context, n, d, frame), decl.span)  # type: ignore[misc]
            if symbol is not None:
                _declare(context, symbol)
    context.dims = {name: context.dims[name] for name in context.spec.dims if name in context.dims}


def _declare(context: Context, symbol: Symbol) -> None:
    context.dims[symbol.name] = symbol
    context.globals[symbol.name] = Dim.of(symbol)


def _narrowed(context: Context, name: str, decl: DimDecl, frame: Frame) -> Symbol:
    """The dim within the multiples that lie in its range. Raises Fault or Poisoned."""
    unit = _number(context, decl.multiple_of, frame, f"`{name}` must be a multiple of")
    most = _number(context, decl.max, frame, f"the `max` of `{name}` must be")
    low, high = -(-decl.min // unit) * unit, most // unit * unit
    if low > high:
        what = f"no multiple of {unit} lies" if unit > 1 else "nothing lies"
        raise Fault("dims", f"{what} within the range of `{name}`, {decl.min} to {most}", _place(decl))
    return Symbol(name, low, min(max(low, decl.opt // unit * unit), high), high, unit)


def _number(context: Context, given: int | Expression, frame: Frame, words: str) -> int:
    if isinstance(given, int):
        return given
    value = formula(context, given, frame)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Fault("dims", f"{words} a whole number of at least 1, but it is {shown(value)}", given.place(given.tree))
    return value


def _place(decl: DimDecl) -> Span:
    """The first of its expressions."""
    return next(e.place(e.tree) for e in (decl.multiple_of, decl.max) if isinstance(e, Expression))
