"""What is known of integers before they are computed: between which sizes they lie, whatever the values of the dims.

Indices that are computed from sizes, such as positions, are known; those that come from an input, such as tokens, are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.schema.dims import Size, bounds, compare


@dataclass(frozen=True, slots=True)
class Even:
    """An element is `first`, and more by a step for each place along each axis."""

    first: Size
    steps: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Integers:
    """Every element lies between `low` and `high`; if these are `attained`, there is one that is `low` and one that is `high`."""

    low: Size
    high: Size
    attained: bool = False
    even: Even | None = None

    @property
    def one(self) -> bool:
        """Whether all are the same number."""
        return self.low == self.high


Known = Integers | None


def single(value: Size, rank: int = 0) -> Integers:
    """A tensor of one number."""
    return Integers(value, value, True, Even(value, (0,) * rank))


def evenly(shape: Sequence[Size], first: Size, steps: Sequence[Size]) -> Known:
    """Numbers that grow, or fall, by steps along the axes."""
    low = high = first
    steps = tuple(0 if size == 1 else step for step, size in zip(steps, shape, strict=True))
    for step, size in zip(steps, shape, strict=True):
        if compare(step, ">=", 0):
            high = high + step * (size - 1)
        elif compare(step, "<=", 0):
            low = low + step * (size - 1)
        else:
            return None
    return Integers(low, high, True, Even(first, steps))


def plus(shape: Sequence[Size], x: Known, y: Known) -> Known:
    """x + y."""
    if x is None or y is None:
        return None
    if x.even and y.even:
        a, b = ((0,) * (len(shape) - len(e.steps)) + e.steps for e in (x.even, y.even))
        return evenly(shape, x.even.first + y.even.first, [m + n for m, n in zip(a, b, strict=True)])
    return Integers(x.low + y.low, x.high + y.high, x.attained and y.attained and (x.one or y.one))


def negative(x: Known) -> Known:
    """-x."""
    if x is None:
        return None
    even = Even(-x.even.first, tuple(-step for step in x.even.steps)) if x.even else None
    return Integers(-x.high, -x.low, x.attained, even)


def times(shape: Sequence[Size], x: Known, y: Known) -> Known:
    """x * y, where one of them is a single number, or neither is negative."""
    if x is None or y is None:
        return None
    if x.one and not y.one:
        x, y = y, x
    if y.one and x.even and y.attained:
        steps = (0,) * (len(shape) - len(x.even.steps)) + x.even.steps
        return evenly(shape, x.even.first * y.low, [step * y.low for step in steps])
    if y.one and compare(y.low, "<=", 0):
        return Integers(x.high * y.low, x.low * y.low, x.attained and y.attained)
    if y.one and compare(y.low, ">=", 0):
        return Integers(x.low * y.low, x.high * y.low, x.attained and y.attained)
    if compare(x.low, ">=", 0) and compare(y.low, ">=", 0):
        return Integers(x.low * y.low, x.high * y.high)
    return None


def larger(x: Known, y: Known) -> Known:
    """max(x, y), elementwise."""
    if x is None or y is None:
        return None
    low, high = _larger(x.low, y.low), _larger(x.high, y.high)
    return Integers(
        y.low if low is None else low,  # neither is larger than the maximum
        max(bounds(x.high)[1], bounds(y.high)[1]) if high is None else high,
        None not in (low, high) and x.attained and y.attained and (x.one or y.one),
    )


def smaller(x: Known, y: Known) -> Known:
    """min(x, y), elementwise."""
    return negative(larger(negative(x), negative(y)))


def remainder(x: Known, y: Known) -> Known:
    """x % y of a y that is positive: known, whatever x is."""
    if y is None or not y.one or not compare(y.low, ">", 0):
        return None
    if x is not None and compare(x.low, ">=", 0) and compare(x.high, "<", y.low):
        return x
    return Integers(0, y.low - 1)


def quotient(x: Known, y: Known) -> Known:
    """x // y of a y that is positive."""
    if x is None or y is None or not y.one or not compare(y.low, ">", 0):
        return None
    return Integers(x.low // y.low, x.high // y.low, x.attained)


def moved(*xs: Known) -> Known:
    """All elements of these, in another order or shape."""
    found = xs[0]
    for x in xs[1:]:
        found = _either(found, x)
    return found and Integers(found.low, found.high, found.attained)


def some(*xs: Known) -> Known:
    """Some elements of these."""
    found = moved(*xs)
    return found and Integers(found.low, found.high)


def _either(x: Known, y: Known) -> Known:
    """Between the lower one's `low` and the higher one's `high`."""
    if x is None or y is None:
        return None
    low, high = _larger(-x.low, -y.low), _larger(x.high, y.high)
    return Integers(
        min(bounds(x.low)[0], bounds(y.low)[0]) if low is None else -low,
        max(bounds(x.high)[1], bounds(y.high)[1]) if high is None else high,
        None not in (low, high) and x.attained and y.attained,
    )


def _larger(a: Size, b: Size) -> Size | None:
    """The larger size, where it is the larger at all values of the dims."""
    return a if compare(a, ">=", b) else b if compare(a, "<=", b) else None
