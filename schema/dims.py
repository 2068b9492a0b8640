"""Symbolic sizes: integer polynomials over named dims, with floor division and modulo, decided over declared ranges.

A dim declared `multiple_of: 32` is held as 32 times a unit, so that division by a divisor of 32 is exact and
`(H // 4) * 4 == H` holds by normal form alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from lamina.schema.diagnostics import Fault

DType = Literal["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
DTYPES: tuple[str, ...] = get_args(DType)
MAX_WEIGHT = 200
FLOATS = ("float64", "float32", "float16", "bfloat16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A declared dynamic dim. Its value is `multiple_of * unit`, with min <= value <= max."""

    name: str
    min: int = 1
    opt: int = 1
    max: int = 2**31 - 1
    multiple_of: int = 1

    def samples(self) -> list[int]:
        """A few values of the unit that are likely to break a false claim."""
        low, high = -(-self.min // self.multiple_of), self.max // self.multiple_of
        picks = {low, low + 1, low + 2, low + 3, self.opt // self.multiple_of, (low + high) // 2, high - 1, high}
        return sorted(p for p in picks if low <= p <= high)

    def evaluate(self, env: Mapping[str, int]) -> int:
        """The unit's value: the divisor has been moved into the coefficients."""
        return env[self.name] // self.multiple_of

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Quotient:
    """floor(numerator / divisor), or the remainder of that division."""

    numerator: Dim
    divisor: Dim
    remainder: bool = False

    def evaluate(self, env: Mapping[str, int]) -> int:
        a, b = self.numerator.evaluate(env), self.divisor.evaluate(env)
        return a % b if self.remainder else a // b

    def __str__(self) -> str:
        return f"{_atom(self.numerator)} {'%' if self.remainder else '//'} {_atom(self.divisor)}"


Atom = Symbol | Quotient
Monomial = tuple[Atom, ...]


@dataclass(frozen=True)
class Dim:
    """A size that is not known until run time: a sum of integer multiples of products of atoms."""

    terms: tuple[tuple[Monomial, int], ...]

    def __post_init__(self) -> None:
        if self.weight > MAX_WEIGHT or any(not -(2**63) <= c < 2**63 for _, c in self.terms):
            raise _too_large()

    @cached_property
    def weight(self) -> int:
        """How many named dims and terms the size is written with, those inside divisions too: what work on it costs."""
        return sum(1 + sum(1 if isinstance(a, Symbol) else a.numerator.weight + a.divisor.weight for a in m) for m, _ in self.terms)

    @staticmethod
    def of(symbol: Symbol) -> Dim:
        return Dim((((symbol,), symbol.multiple_of),))

    def __add__(self, other: object) -> Any:
        return _total(self, other, 1) if _is_size(other) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        return _total(self, other, -1) if _is_size(other) else NotImplemented

    def __rsub__(self, other: object) -> Any:
        return -1 * self + other

    def __neg__(self) -> Any:
        return self * -1

    def __mul__(self, other: object) -> Any:
        if not _is_size(other):
            return NotImplemented
        if self.weight * len(_terms(other)) > MAX_WEIGHT**2 // 4:
            raise _too_large()
        product: dict[Monomial, int] = {}
        for (ma, ca), (mb, cb) in itertools.product(self.terms, _terms(other)):
            key = tuple(sorted(ma + mb, key=_order))
            product[key] = product.get(key, 0) + ca * cb
        return _make(product)

    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> Any:
        return _divide(self, other, remainder=False) if _is_size(other) else NotImplemented

    def __rfloordiv__(self, other: object) -> Any:
        return _divide(other, self, remainder=False) if _is_size(other) else NotImplemented

    def __mod__(self, other: object) -> Any:
        return _divide(self, other, remainder=True) if _is_size(other) else NotImplemented

    def __rmod__(self, other: object) -> Any:
        return _divide(other, self, remainder=True) if _is_size(other) else NotImplemented

    @cached_property
    def symbols(self) -> frozenset[Symbol]:
        """Every named dim that the size depends on."""
        found: set[Symbol] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, Symbol):
                    found.add(atom)
                else:
                    found |= atom.numerator.symbols | atom.divisor.symbols
        return frozenset(found)

    def evaluate(self, env: Mapping[str, int]) -> int:
        """The size when each named dim has the value in `env`."""
        total = 0
        for monomial, coefficient in self.terms:
            for atom in monomial:
                coefficient *= atom.evaluate(env)
            total += coefficient
        return total

    def bounds(self) -> tuple[int, int]:
        """A lower and an upper bound over the declared ranges (sound, not always tight)."""
        return self._bounds

    @cached_property
    def _bounds(self) -> tuple[int, int]:
        return _end(self, -1), _end(self, 1)

    @cached_property
    def interval(self) -> tuple[int, int]:
        """Bounds by interval arithmetic: each term as if the others did not depend on the same dims."""
        low = high = 0
        for monomial, coefficient in self.terms:
            a = b = 1
            for atom in monomial:
                c, d = _atom_bounds(atom)
                corners = (a * c, a * d, b * c, b * d)
                a, b = min(corners), max(corners)
            low += min(a * coefficient, b * coefficient)
            high += max(a * coefficient, b * coefficient)
        return low, high

    def __str__(self) -> str:
        return _text(self)


Size = int | Dim


@dataclass(frozen=True, slots=True)
class TensorType:
    """dtype and symbolic shape of a tensor."""

    dtype: str
    shape: tuple[Size, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    def with_shape(self, shape: Iterable[Size]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def value_of(size: Size, env: Mapping[str, int]) -> int:
    """A size as a number, dims taken from `env`."""
    return size.evaluate(env) if isinstance(size, Dim) else size


def bounds(size: Size) -> tuple[int, int]:
    """Lower and upper bound of a size."""
    return size.bounds() if isinstance(size, Dim) else (size, size)


def compare(a: Size, operator: str, b: Size) -> bool | None:
    """Decide `a operator b` over the whole declared range; None when it depends on the value."""
    low, high = bounds(a - b)
    known: dict[str, tuple[bool, bool]] = {
        "<": (high < 0, low >= 0),
        "<=": (high <= 0, low > 0),
        ">": (low > 0, high <= 0),
        ">=": (low >= 0, high < 0),
        "==": (low == high == 0, low > 0 or high < 0),
        "!=": (low > 0 or high < 0, low == high == 0),
    }
    true, false = known[operator]
    return True if true else False if false else None


def counterexample(a: Size, b: Size) -> dict[str, int] | None:
    """Values of the dims for which the two sizes differ, or None when no sample shows one."""
    difference = a - b
    if not isinstance(difference, Dim):
        return {} if difference else None
    symbols = sorted(difference.symbols, key=lambda s: s.name)
    grids = [[unit * s.multiple_of for unit in s.samples()] for s in symbols]
    for values in itertools.islice(itertools.product(*grids), 4096):
        env = dict(zip((s.name for s in symbols), values, strict=True))
        if difference.evaluate(env):
            return env
    return None


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes; 1 for none."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return total


def _too_large() -> Fault:
    return Fault("limit", f"a size is written with more than {MAX_WEIGHT} terms, or with a number beyond 64 bits", hint="use simpler sizes")


def _is_size(value: object) -> bool:
    return isinstance(value, Dim | int) and not isinstance(value, bool)


def _terms(size: Any) -> tuple[tuple[Monomial, int], ...]:
    return size.terms if isinstance(size, Dim) else (((), size),)


def _make(terms: Mapping[Monomial, int]) -> Size:
    kept = tuple(sorted(((m, c) for m, c in terms.items() if c), key=lambda t: (-len(t[0]), [_order(a) for a in t[0]])))
    if not kept:
        return 0
    return kept[0][1] if kept[0][0] == () else Dim(kept)


def _total(a: Any, b: Any, sign: int) -> Size:
    total = dict(_terms(a))
    for monomial, coefficient in _terms(b):
        total[monomial] = total.get(monomial, 0) + sign * coefficient
    return _make(total)


def _divide(a: Any, b: Any, *, remainder: bool) -> Size:
    if b == 0:
        raise ZeroDivisionError("division by zero")
    if isinstance(b, int):
        whole = {m: c // b for m, c in _terms(a) if c % b == 0 or m == ()}
        rest = {m: c % b if m == () else c for m, c in _terms(a) if c % b}
        left = _make(rest)
        if isinstance(left, int):  # 0 <= left < b, so the rest adds nothing to the quotient
            return left if remainder else _make(whole)
        low, high = bounds(left)
        if low // b == high // b:
            return left - b * (low // b) if remainder else _make(whole) + low // b
        atom = Quotient(_as_dim(left), _as_dim(b), remainder)
        return Dim((((atom,), 1),)) if remainder else Dim((((atom,), 1),)) + _make(whole)
    divided = _exact(a, b)
    if divided is not None:
        return 0 if remainder else divided
    return Dim((((Quotient(_as_dim(a), b, remainder),), 1),))


def _exact(a: Any, b: Dim) -> Size | None:
    """a / b when b is a single term that divides every term of a."""
    if len(b.terms) != 1:
        return 1 if a == b else None
    (monomial, coefficient), out = b.terms[0], {}
    for m, c in _terms(a):
        rest = list(m)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        if c % coefficient:
            return None
        out[tuple(rest)] = c // coefficient
    return _make(out)


def _as_dim(size: Size) -> Dim:
    return size if isinstance(size, Dim) else Dim((((), size),))


def _atom_bounds(atom: Atom) -> tuple[int, int]:
    if isinstance(atom, Symbol):
        return -(-atom.min // atom.multiple_of), atom.max // atom.multiple_of
    low, high = atom.divisor.bounds()
    if atom.remainder:
        return 0, max(high - 1, 0)
    a, b = atom.numerator.bounds()
    if low <= 0:
        return min(a, -b), max(b, -a)
    corners = (a // low, a // high, b // low, b // high)
    return min(corners), max(corners)


def _divisor(monomial: Monomial) -> int:
    """d where the term is floor(n / d) with d a number, else 0."""
    atom = monomial[0] if len(monomial) == 1 else None
    if not isinstance(atom, Quotient) or atom.remainder or atom.divisor.terms[0][0]:
        return 0
    return atom.divisor.terms[0][1]


def _end(size: Size, sign: int) -> int:
    """The upper bound (sign 1) or the lower one (-1). Only one end is followed, so that nested divisions cost one step each."""
    if not isinstance(size, Dim):
        return size
    end = size.interval[sign > 0]
    varying = [monomial for monomial, _ in size.terms if monomial]
    if len(varying) < 2 or not any(map(_divisor, varying)):  # nothing that could cancel
        return end
    return min(end, _relaxed(size, 1)) if sign > 0 else max(end, _relaxed(size, -1))


def _relaxed(dim: Dim, sign: int) -> int:
    """A bound from above (sign 1) or below (-1) with n/d - (d-1)/d <= floor(n / d) <= n/d, so that `t // 2 <= t` is seen."""
    scale = math.lcm(*(_divisor(monomial) or 1 for monomial, _ in dim.terms))
    total: Size = 0
    for monomial, coefficient in dim.terms:
        divisor, atom = _divisor(monomial), monomial[0] if monomial else None
        if divisor and isinstance(atom, Quotient):
            slack = 0 if coefficient * sign > 0 else divisor - 1
            total = total + (atom.numerator - slack) * (coefficient * scale // divisor)
        else:
            total = total + Dim(((monomial, coefficient * scale),))
    end = _end(total, sign)
    return end // scale if sign > 0 else -(-end // scale)


def _order(atom: Atom) -> str:
    return str(atom)


def _text(dim: Dim) -> str:
    out = ""
    for monomial, coefficient in dim.terms:
        sign = "-" if coefficient < 0 else "+"
        term = _term(monomial, abs(coefficient))
        out = (f"{out} {sign} {term}") if out else (f"-{term}" if sign == "-" else term)
    return out


def _term(monomial: Monomial, coefficient: int) -> str:
    """A term as a person would write it: 8 units of H (multiple_of 32) are `H // 4`."""
    if not monomial:
        return str(coefficient)
    names, divisor = [], 1
    for atom in monomial:
        unit = atom.multiple_of if isinstance(atom, Symbol) else 1
        common = _gcd(coefficient, unit)
        coefficient //= common
        divisor *= unit // common
        names.append(str(atom) if isinstance(atom, Symbol) or (len(monomial) == 1 and coefficient == 1) else f"({atom})")
    text = " * ".join(([str(coefficient)] if coefficient != 1 else []) + names)
    if divisor == 1:
        return text
    return f"{text} // {divisor}" if len(names) == 1 and coefficient == 1 else f"({text}) // {divisor}"


def _atom(dim: Dim) -> str:
    text = str(dim)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a
