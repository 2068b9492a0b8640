"""The smallest values of dims at which something is so, as far as a bounded search finds them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

from lamina.schema.dims.atoms import Symbol

Values = Mapping[str, int]
Wanted = Callable[[Values], bool]
ALONE, TOGETHER = 512, 2048  # values of one dim that are tried, and of several together


def smallest(symbols: Iterable[Symbol], wanted: Wanted) -> dict[str, int] | None:
    """Values of these dims at which `wanted` holds: all at their smallest, else one of them larger, else several; None where none is found.

    A dim by itself is tried from its smallest value upwards, so that its value is the smallest that there is, unless that is far from it
    and `wanted` holds in several pieces of the range.
    """
    ordered = sorted(_with_others(symbols), key=lambda s: s.name)
    wanted = _allowed(ordered, wanted)
    least = {s.name: s.bounds()[0] * s.multiple_of for s in ordered}
    if wanted(least):
        return least
    for symbol in ordered:
        unit = _alone(symbol, lambda u, s=symbol: wanted({**least, s.name: u * s.multiple_of}))  # type: ignore[misc]
        if unit is not None:
            return {**least, symbol.name: unit * symbol.multiple_of}
    grids = [[unit * s.multiple_of for unit in s.samples()] for s in ordered]
    together = (dict(zip(least, values, strict=True)) for values in itertools.product(*grids))
    return next((env for env in itertools.islice(together, TOGETHER) if wanted(env)), None)


def deciding(symbols: Iterable[Symbol], env: Values, wanted: Wanted) -> dict[str, int]:
    """Of values at which `wanted` holds, those that another value of their dim would change."""

    def decides(symbol: Symbol) -> bool:
        return not all(wanted({**env, symbol.name: unit * symbol.multiple_of}) for unit in symbol.samples())

    return {s.name: env[s.name] for s in sorted(symbols, key=lambda s: s.name) if decides(s)}


def _with_others(symbols: Iterable[Symbol]) -> set[Symbol]:
    """The dims, and those that bound them, and so on."""
    found: set[Symbol] = set()
    pending = list(symbols)
    while pending:
        symbol = pending.pop()
        found.add(symbol)
        pending += symbol.at_most.symbols - found if symbol.at_most is not None else ()
    return found


def _allowed(symbols: Iterable[Symbol], wanted: Wanted) -> Wanted:
    """Also that no dim is larger than others let it be."""
    bounded = [(s.name, s.at_most) for s in symbols if s.at_most is not None]
    return lambda env: all(env[name] <= most.evaluate(env) for name, most in bounded) and wanted(env)


def _alone(symbol: Symbol, wanted: Callable[[int], bool]) -> int | None:
    """The smallest of its units; far from the smallest one the first sample, and from there down to one beside which it is not so."""
    low, high = symbol.bounds()
    near = min(high, low + ALONE)
    for unit in range(low + 1, near + 1):
        if wanted(unit):
            return unit
    below = near
    for unit in (u for u in symbol.samples() if u > near):
        if wanted(unit):
            return _between(below, unit, wanted)
        below = unit
    return None


def _between(without: int, found: int, wanted: Callable[[int], bool]) -> int:
    while found - without > 1:
        middle = (without + found) // 2
        without, found = (without, middle) if wanted(middle) else (middle, found)
    return found
