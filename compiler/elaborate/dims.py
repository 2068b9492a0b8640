"""The dynamic sizes: those whose range the file states, and those that are multiples of something that the config says."""

from __future__ import annotations

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import UNKNOWN, Frame
from lamina.compiler.elaborate.words import shown
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import Dim, Symbol
from lamina.schema.sections import DimDecl


def fixed_dims(context: Context) -> None:
    """Declare every dim that needs no config, which the config may use."""
    for name, decl in context.spec.dims.items():
        if isinstance(decl.multiple_of, int):
            _declare(context, Symbol(name, decl.min, decl.opt, decl.max, decl.multiple_of))


def computed_dims(context: Context, frame: Frame) -> None:
    """Declare the others. What is wrong with one is reported, and it is unknown from then on."""
    for name, decl in context.spec.dims.items():
        if not isinstance(decl.multiple_of, int):
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
    assert not isinstance(decl.multiple_of, int)
    unit, place = formula(context, decl.multiple_of, frame), decl.multiple_of.place(decl.multiple_of.tree)
    if isinstance(unit, bool) or not isinstance(unit, int) or unit < 1:
        raise Fault("dims", f"`{name}` must be a multiple of a whole number of at least 1, but it is {shown(unit)}", place)
    low, high = -(-decl.min // unit) * unit, decl.max // unit * unit
    if low > high:
        raise Fault("dims", f"no multiple of {unit} lies within the range of `{name}`, {decl.min} to {decl.max}", place)
    return Symbol(name, low, max(low, decl.opt // unit * unit), high, unit)
