"""Sizes as a person would write them."""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd

from lamina.schema.dims.atoms import Atom, Symbol


def polynomial_text(terms: Iterable[tuple[tuple[Atom, ...], int]]) -> str:
    """A sum of terms."""
    out = ""
    for monomial, coefficient in terms:
        sign = "-" if coefficient < 0 else "+"
        term = _term(monomial, abs(coefficient))
        out = (f"{out} {sign} {term}") if out else (f"-{term}" if sign == "-" else term)
    return out


def in_brackets(text: str) -> str:
    """A size as an operand."""
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _term(monomial: tuple[Atom, ...], coefficient: int) -> str:
    """A term: 8 units of H (multiple_of 32) are `H // 4`."""
    if not monomial:
        return str(coefficient)
    names, divisor = [], 1
    for atom in monomial:
        unit = atom.multiple_of if isinstance(atom, Symbol) else 1
        common = gcd(coefficient, unit)
        coefficient //= common
        divisor *= unit // common
        names.append(str(atom) if isinstance(atom, Symbol) or (len(monomial) == 1 and coefficient == 1) else f"({atom})")
    text = " * ".join(([str(coefficient)] if coefficient != 1 else []) + names)
    if divisor == 1:
        return text
    return f"{text} // {divisor}" if len(names) == 1 and coefficient == 1 else f"({text}) // {divisor}"
