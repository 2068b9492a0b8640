"""Questions about sizes that are decided over the whole declared range."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping

from lamina.schema.dims.search import smallest
from lamina.schema.dims.size import Dim, Size

_HOLDS: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def value_of(size: Size, env: Mapping[str, int]) -> int:
    """A size as a number, dims taken from `env`."""
    return size.evaluate(env) if isinstance(size, Dim) else size


def bounds(size: Size) -> tuple[int, int]:
    """Lower and upper bound of a size."""
    return size.bounds() if isinstance(size, Dim) else (size, size)


def compare(a: Size, symbol: str, b: Size) -> bool | None:
    """Decide `a symbol b` over the whole declared range; None when it depends on the value."""
    low, high = bounds(a - b)
    known: dict[str, tuple[bool, bool]] = {
        "<": (high < 0, low >= 0),
        "<=": (high <= 0, low > 0),
        ">": (low > 0, high <= 0),
        ">=": (low >= 0, high < 0),
        "==": (low == high == 0, low > 0 or high < 0),
        "!=": (low > 0 or high < 0, low == high == 0),
    }
    true, false = known[symbol]
    return True if true else False if false else None


def counterexample(a: Size, b: Size) -> dict[str, int] | None:
    """The smallest values of the dims for which the two sizes differ, or None when none is found."""
    return _instance(a, b, lambda difference: difference != 0)


def undecided(a: Size, symbol: str, b: Size) -> str:
    """What to say of `a symbol b` where `compare` cannot decide it: for which dims it holds, and for which it does not."""
    symbols = sorted({s for size in (a, b) if isinstance(size, Dim) for s in size.symbols}, key=str)
    ranges = " and ".join(f"`{s}` is {s.min} to {s.max}" for s in symbols)
    holds, fails = _instance(a, b, lambda d: _HOLDS[symbol](d, 0)), _instance(a, b, lambda d: not _HOLDS[symbol](d, 0))
    if holds is None or fails is None:
        return f"whether `{a} {symbol} {b}` holds for every size is not known: {ranges}"
    return f"whether `{a} {symbol} {b}` holds depends on the size at run time: {ranges}; at {shown(fails)} it does not"


def _instance(a: Size, b: Size, wanted: Callable[[int], bool]) -> dict[str, int] | None:
    """The smallest values of the dims for which a - b is what is wanted, if a search finds some."""
    difference = a - b
    if not isinstance(difference, Dim):
        return {} if wanted(difference) else None
    return smallest(difference.symbols, lambda env: wanted(difference.evaluate(env)))


def shown(env: Mapping[str, int]) -> str:
    """`H = 97, W = 32`."""
    return ", ".join(f"{name} = {value}" for name, value in env.items())


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes; 1 for none."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return total
