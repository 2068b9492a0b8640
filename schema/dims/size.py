"""Dynamic sizes with floor division and modulo, which are exact where divisibility is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from lamina.schema.dims.atoms import Atom, Symbol
from lamina.schema.dims.polynomial import Monomial, Polynomial, is_size, terms_of
from lamina.schema.dims.ranges import end
from lamina.schema.dims.text import in_brackets


@final
@dataclass(frozen=True)
class Dim(Polynomial):
    """A size that is not known until run time: a sum of integer multiples of products of atoms."""

    @staticmethod
    def of(symbol: Symbol) -> Dim:
        """The size that a named dim is."""
        return Dim((((symbol,), symbol.multiple_of),))

    def __floordiv__(self, other: object) -> Any:
        return _divide(self, other, remainder=False) if is_size(other) else NotImplemented

    def __rfloordiv__(self, other: object) -> Any:
        return _divide(other, self, remainder=False) if is_size(other) else NotImplemented

    def __mod__(self, other: object) -> Any:
        return _divide(self, other, remainder=True) if is_size(other) else NotImplemented

    def __rmod__(self, other: object) -> Any:
        return _divide(other, self, remainder=True) if is_size(other) else NotImplemented

    def bounds(self) -> tuple[int, int]:
        """A lower and an upper bound over the declared ranges (sound, not always tight)."""
        return self._bounds

    @cached_property
    def _bounds(self) -> tuple[int, int]:
        return end(self, -1), end(self, 1)

    def with_dim(self, name: str, size: Size) -> Size:
        """The size where the named dim, which is a multiple of 1, is `size`."""
        total: Size = 0
        for monomial, coefficient in self.terms:
            term: Size = coefficient
            for atom in monomial:
                term = term * _replaced(atom, name, size)
            total = total + term
        return total


Size = int | Dim


@final
@dataclass(frozen=True, slots=True)
class Quotient(Atom):
    """floor(numerator / divisor), or the remainder of that division."""

    numerator: Dim
    divisor: Dim
    remainder: bool = False

    @property
    def symbols(self) -> frozenset[Symbol]:
        return self.numerator.symbols | self.divisor.symbols

    @property
    def weight(self) -> int:
        return self.numerator.weight + self.divisor.weight

    def evaluate(self, env: Mapping[str, int]) -> int:
        a, b = self.numerator.evaluate(env), self.divisor.evaluate(env)
        return a % b if self.remainder else a // b

    def bounds(self) -> tuple[int, int]:
        low, high = self.divisor.bounds()
        if self.remainder:
            return 0, max(high - 1, 0)
        a, b = self.numerator.bounds()
        if low <= 0:
            return min(a, -b), max(b, -a)
        corners = (a // low, a // high, b // low, b // high)
        return min(corners), max(corners)

    def floor_of(self) -> tuple[Dim, int] | None:
        monomial, divisor = self.divisor.terms[0]
        return None if self.remainder or monomial else (self.numerator, divisor)

    def __str__(self) -> str:
        return f"{in_brackets(str(self.numerator))} {'%' if self.remainder else '//'} {in_brackets(str(self.divisor))}"


def _replaced(atom: Atom, name: str, size: Size) -> Size:
    if isinstance(atom, Quotient):
        parts = (part.with_dim(name, size) for part in (atom.numerator, atom.divisor))
        return _divide(*parts, remainder=atom.remainder)
    return size if isinstance(atom, Symbol) and atom.name == name else Dim((((atom,), 1),))


def _divide(a: Any, b: Any, *, remainder: bool) -> Size:
    if b == 0:
        raise ZeroDivisionError("division by zero")
    if isinstance(b, int):
        return _by_number(a, b, remainder=remainder)
    divided = _exact(a, b)
    if divided is not None:
        return 0 if remainder else divided
    return _atom(a, b, remainder=remainder)


def _by_number(a: Any, b: int, *, remainder: bool) -> Size:
    """What b divides is divided term by term; the rest is a number where its range says so, else an atom."""
    whole = Dim.of_terms({m: c // b for m, c in terms_of(a) if c % b == 0 or m == ()})
    left = Dim.of_terms({m: c % b if m == () else c for m, c in terms_of(a) if c % b})
    if isinstance(left, int):  # 0 <= left < b, so the rest adds nothing to the quotient
        return left if remainder else whole
    low, high = left.bounds()
    if low // b == high // b:
        return left - b * (low // b) if remainder else whole + low // b  # type: ignore[no-any-return]
    if remainder:
        return _atom(left, b, remainder=True)
    return _unnested(left, b) + whole  # type: ignore[no-any-return]


def _unnested(left: Dim, b: int) -> Size:
    """left // b, where (n // m + c) // b is (n + c * m) // (m * b): so that windows over windows have one form."""
    (monomial, coefficient), *rest = left.terms
    inner = monomial[0].floor_of() if len(monomial) == coefficient == 1 and isinstance(monomial[0], Quotient) else None
    if inner is None or inner[1] < 1 or b < 1 or any(m for m, _ in rest):
        return _atom(left, b, remainder=False)
    numerator, m = inner
    return _by_number(numerator + m * sum(c for _, c in rest), m * b, remainder=False)


def _exact(a: Any, b: Dim) -> Size | None:
    """a / b when b is a single term that divides every term of a."""
    if len(b.terms) != 1:
        return 1 if a == b else None
    (monomial, coefficient), out = b.terms[0], dict[Monomial, int]()
    for m, c in terms_of(a):
        rest = list(m)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        if c % coefficient:
            return None
        out[tuple(rest)] = c // coefficient
    return Dim.of_terms(out)  # type: ignore[no-any-return]


def _atom(a: Size, b: Size, *, remainder: bool) -> Dim:
    return Dim((((Quotient(_as_dim(a), _as_dim(b), remainder),), 1),))


def _as_dim(size: Size) -> Dim:
    return size if isinstance(size, Dim) else Dim((((), size),))
