"""Questions about sizes that are decided over the whole declared range."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from lamina.schema.dims.size import Dim, Size


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
