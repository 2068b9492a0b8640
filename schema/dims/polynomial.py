"""Sums of integer multiples of products of atoms, in normal form: equal sizes have equal terms."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

from lamina.schema.diagnostics import Fault
from lamina.schema.dims.atoms import Atom, Symbol
from lamina.schema.dims.text import polynomial_text

MAX_WEIGHT = 200
CORNERS = 4  # atoms at whose ends a size is looked at, all of them together
Monomial = tuple[Atom, ...]
Terms = tuple[tuple[Monomial, int], ...]


@dataclass(frozen=True)
class Polynomial:
    """The part of a size's arithmetic that is exact: addition and multiplication."""

    terms: Terms

    def __post_init__(self) -> None:
        if self.weight > MAX_WEIGHT or any(not -(2**63) <= c < 2**63 for _, c in self.terms):
            raise too_large()

    @cached_property
    def weight(self) -> int:
        """How many named dims and terms the size is written with, those inside divisions too: what work on it costs."""
        return sum(1 + sum(atom.weight for atom in monomial) for monomial, _ in self.terms)

    @cached_property
    def symbols(self) -> frozenset[Symbol]:
        """Every named dim that the size depends on."""
        return frozenset[Symbol]().union(*(atom.symbols for monomial, _ in self.terms for atom in monomial))

    def evaluate(self, env: Mapping[str, int]) -> int:
        """The size when each named dim has the value in `env`."""
        total = 0
        for monomial, coefficient in self.terms:
            for atom in monomial:
                coefficient *= atom.evaluate(env)
            total += coefficient
        return total

    @cached_property
    def interval(self) -> tuple[int, int]:
        """Bounds: of a sum of products of a few different atoms at the ends of these, as of `b * t - b`, which is b * (t - 1).

        Else by interval arithmetic: each term as if the others did not depend on the same dims.
        """
        shared = Counter(atom for monomial, _ in self.terms for atom in monomial)
        if len(shared) <= CORNERS and len(shared) < shared.total() and all(len(set(m)) == len(m) for m, _ in self.terms):
            corners = itertools.product(*(atom.bounds() for atom in shared))
            found = [self._at(dict(zip(shared, corner, strict=True))) for corner in corners]
            return min(found), max(found)
        ends = [_term_interval(monomial, coefficient) for monomial, coefficient in self.terms]
        return sum(low for low, _ in ends), sum(high for _, high in ends)

    def _at(self, values: Mapping[Atom, int]) -> int:
        return sum(coefficient * math.prod(values[atom] for atom in monomial) for monomial, coefficient in self.terms)

    @classmethod
    def of_terms(cls, terms: Mapping[Monomial, int]) -> Any:
        """The sum of terms: a number where none depends on a dim."""
        kept = tuple(sorted(((m, c) for m, c in terms.items() if c), key=_position))
        if not kept:
            return 0
        return kept[0][1] if kept[0][0] == () else cls(kept)

    def __add__(self, other: object) -> Any:
        return self._plus(other, 1) if is_size(other) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        return self._plus(other, -1) if is_size(other) else NotImplemented

    def __rsub__(self, other: object) -> Any:
        return -1 * self + other

    def __neg__(self) -> Any:
        return self * -1

    def __mul__(self, other: object) -> Any:
        if not is_size(other):
            return NotImplemented
        if self.weight * len(terms_of(other)) > MAX_WEIGHT**2 // 4:
            raise too_large()
        product: dict[Monomial, int] = {}
        for (ma, ca), (mb, cb) in itertools.product(self.terms, terms_of(other)):
            key = tuple(sorted(ma + mb, key=str))
            product[key] = product.get(key, 0) + ca * cb
        return self.of_terms(product)

    __rmul__ = __mul__

    def _plus(self, other: Polynomial | int, sign: int) -> Any:
        total = dict(self.terms)
        for monomial, coefficient in terms_of(other):
            total[monomial] = total.get(monomial, 0) + sign * coefficient
        return self.of_terms(total)

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        """Asked for over and over, as sizes inside others are sorted by it."""
        return polynomial_text(self.terms)


def is_size(value: object) -> TypeGuard[Polynomial | int]:
    """Whether a value is a size, fixed or dynamic."""
    return isinstance(value, Polynomial | int) and not isinstance(value, bool)


def terms_of(size: Polynomial | int) -> Terms:
    """The terms of a size, also of a number."""
    return size.terms if isinstance(size, Polynomial) else (((), size),)


def too_large() -> Fault:
    return Fault("limit", f"a size is written with more than {MAX_WEIGHT} terms, or with a number beyond 64 bits", hint="use simpler sizes")


def _position(term: tuple[Monomial, int]) -> tuple[int, list[str]]:
    """Where a term stands: longer products first, then by name."""
    return -len(term[0]), [str(atom) for atom in term[0]]


def _term_interval(monomial: Monomial, coefficient: int) -> tuple[int, int]:
    low = high = coefficient
    for atom in monomial:
        a, b = atom.bounds()
        corners = (low * a, low * b, high * a, high * b)
        low, high = min(corners), max(corners)
    return low, high
