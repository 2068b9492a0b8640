"""Compile-time functions over numbers, texts and lists."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from lamina.compiler import elementary
from lamina.compiler.elaborate.bounds import MAX_LIST, bounded
from lamina.compiler.elaborate.words import shown
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import Dim, compare


def compute(name: str, values: list[Any]) -> Any:
    """The function of that name, applied. Raises Fault."""
    least, most, function = FUNCTIONS[name]
    if not least <= len(values) <= most:
        counted = f"{least}" if least == most else f"{least} to {most}" if most < MAX_LIST else f"at least {least}"
        raise Fault("argument", f"`{name}` takes {counted} argument{'s' * (counted != '1')}, but {len(values)} are given")
    return function(*values)


def _range(*ends: Any) -> list[int]:
    if not all(isinstance(b, int) for b in ends):
        dynamic = next((b for b in ends if isinstance(b, Dim)), None)
        raise Fault("type", f"`range` needs fixed whole numbers, not {'the dynamic size ' + str(dynamic) if dynamic else list(ends)}")
    if len(ends) == 3 and ends[2] == 0:
        raise Fault("expression", "the step of `range` is 0")
    count = len(range(*ends))
    if count > MAX_LIST:
        raise Fault("limit", f"`range` would give {count:,} numbers, more than {MAX_LIST:,}")
    return list(range(*ends))


def _length(value: Any) -> int:
    if not isinstance(value, list | str):
        raise Fault("type", "`len` needs a list", hint="the sizes of a tensor are shape(x)")
    return len(value)


def _zip(*lists: Any) -> list[Any]:
    for value in lists:
        _need_list("zip", value)
    if len({len(v) for v in lists}) > 1:
        raise Fault("expression", f"`zip` needs lists of one length, but theirs are {', '.join(str(len(v)) for v in lists)}")
    return [list(v) for v in zip(*lists, strict=True)]


def _extreme(name: str, pick: Callable[[Any], Any]) -> Callable[..., Any]:
    def function(*values: Any) -> Any:
        items = values[0] if len(values) == 1 and isinstance(values[0], list) else list(values)
        if not items:
            raise Fault("expression", f"`{name}` of an empty list has no value")
        if any(isinstance(v, Dim) for v in items):
            return _extreme_size(name, items)
        return _ordered(name, pick, items)

    return function


def _extreme_size(name: str, items: list[Any]) -> Any:
    _need_sizes(name, items)
    best = items[0]
    for item in items[1:]:
        decided = compare(item, "<=" if name == "min" else ">=", best)
        if decided is None:
            raise Fault("dynamic", f"`{name}` of {best} and {item} depends on the size at run time")
        best = item if decided else best
    return best


def _need_sizes(name: str, items: list[Any]) -> None:
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int | Dim):
            raise Fault("type", f"`{name}` of a size and {shown(item)} is not defined")


def _ordered(name: str, function: Callable[[Any], Any], items: list[Any]) -> Any:
    try:
        return function(items)
    except TypeError as error:
        raise Fault("type", f"`{name}` needs values that can be put in order, but it is given {shown(items)}") from error


def _sum(items: list[Any]) -> Any:
    if items and all(isinstance(i, list) for i in items):
        return list(itertools.islice(itertools.chain.from_iterable(items), MAX_LIST + 1))
    return _folded("sum", sum, items)


def _product(items: list[Any]) -> Any:
    total: Any = 1
    for item in items:
        total = bounded(_folded("prod", lambda pair: pair[0] * pair[1], [total, item]))
    return total


def _folded(name: str, function: Callable[[Any], Any], items: list[Any]) -> Any:
    for item in items:
        if not isinstance(item, int | float | Dim):
            raise Fault("type", f"`{name}` needs numbers, but it is given {shown(item)}")
    try:
        return function(items)
    except TypeError as error:  # a size and a fraction
        raise Fault("type", f"`{name}` cannot combine {shown(items)}") from error


def _need_list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Fault("type", f"`{name}` needs a list, but it is given {shown(value)}")
    return value


def _on_list(name: str, function: Callable[[list[Any]], Any]) -> tuple[int, int, Callable[..., Any]]:
    return 1, 1, lambda value: function(_need_list(name, value))


def _on_number(name: str, function: Callable[[Any], Any]) -> tuple[int, int, Callable[..., Any]]:
    def checked(value: Any) -> Any:
        if not isinstance(value, int | float):
            raise Fault("type", f"`{name}` needs a number, but it is given {shown(value)}")
        try:
            return function(value)
        except (ValueError, OverflowError) as error:
            raise Fault("expression", f"`{name}` of {value} has no value") from error

    return 1, 1, checked


def _size_or(name: str, function: Callable[[Any], Any]) -> tuple[int, int, Callable[..., Any]]:
    """A function that leaves sizes as they are: they are whole and not negative."""
    least, most, checked = _on_number(name, function)
    return least, most, lambda value: value if isinstance(value, Dim) else checked(value)


def _real(function: Callable[[float], Any]) -> Callable[[Any], float]:
    """A function of real numbers, where it has a value."""

    def of(value: Any) -> float:
        found = float(function(float(value)))
        if not math.isfinite(found):
            raise ValueError
        return found

    return of


FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {  # how many arguments, at least and at most; and the function
    "range": (1, 3, _range),
    "len": (1, 1, _length),
    "enumerate": _on_list("enumerate", lambda items: [[i, v] for i, v in enumerate(items)]),
    "zip": (1, MAX_LIST, _zip),
    "reversed": _on_list("reversed", lambda items: list(reversed(items))),
    "sorted": _on_list("sorted", lambda items: _ordered("sorted", sorted, items)),
    "sum": _on_list("sum", _sum),
    "prod": _on_list("prod", _product),
    "min": (1, MAX_LIST, _extreme("min", min)),
    "max": (1, MAX_LIST, _extreme("max", max)),
    "abs": _on_number("abs", abs),
    "int": _size_or("int", int),
    "float": _on_number("float", float),
    "round": _size_or("round", round),
    "floor": _size_or("floor", math.floor),
    "ceil": _size_or("ceil", math.ceil),
    "sqrt": _on_number("sqrt", math.sqrt),
    "log2": _on_number("log2", _real(elementary.log2)),
    "exp": _on_number("exp", _real(elementary.exp)),
    "log": _on_number("log", _real(elementary.log)),
    "sin": _on_number("sin", _real(elementary.sin)),
    "cos": _on_number("cos", _real(elementary.cos)),
}
