"""Bounds of a size over the declared ranges: sound, not always tight."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lamina.schema.dims.atoms import Symbol
from lamina.schema.dims.polynomial import Monomial, Polynomial


def end(size: Polynomial | int, sign: int) -> int:
    """The upper bound (sign 1) or the lower one (-1). Only one end is followed, so that nested divisions cost one step each."""
    if not isinstance(size, Polynomial):
        return size
    found = [size.interval[sign > 0]]
    varying = [monomial for monomial, _ in size.terms if monomial]
    if len(varying) > 1 and any(map(_floor, varying)):  # else there is nothing that could cancel
        found.append(_relaxed(size, sign))
    found += [end(largest, sign) for largest in _at_their_largest(size, sign)]
    return min(found) if sign > 0 else max(found)


def _at_their_largest(size: Polynomial, sign: int) -> Iterator[Polynomial | int]:
    """The size with a dim as large as others let it be, where it stands in one term alone and that is what leads to this end."""
    for monomial, coefficient in size.terms:
        symbol = monomial[0] if len(monomial) == 1 else None
        if not isinstance(symbol, Symbol) or symbol.at_most is None or coefficient * sign < 0:
            continue
        rest = size - size.of_terms({monomial: coefficient})
        if isinstance(rest, int) or symbol not in rest.symbols:
            yield rest + symbol.at_most * coefficient


def _floor(monomial: Monomial) -> tuple[Polynomial, int] | None:
    """n and d where the term is floor(n / d) with d a number."""
    return monomial[0].floor_of() if len(monomial) == 1 else None


def _relaxed(size: Polynomial, sign: int) -> int:
    """A bound from above (sign 1) or below (-1) with n/d - (d-1)/d <= floor(n / d) <= n/d, so that `t // 2 <= t` is seen."""
    floors = [(_floor(monomial), monomial, coefficient) for monomial, coefficient in size.terms]
    scale = math.lcm(*(found[1] if found else 1 for found, _, _ in floors))
    total: Polynomial | int = 0
    for found, monomial, coefficient in floors:
        if found is None:
            total = total + size.of_terms({monomial: coefficient * scale})
            continue
        numerator, divisor = found
        slack = 0 if coefficient * sign > 0 else divisor - 1
        total = total + (numerator - slack) * (coefficient * scale // divisor)
    found_end = end(total, sign)
    return found_end // scale if sign > 0 else -(-found_end // scale)
