"""Compile-time functions and arithmetic: exact, and bounded in work."""

from __future__ import annotations

import ast
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

from lamina.compiler.elaborate.words import shown
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import Dim, compare, product

MAX_LIST = 100_000
MAX_TEXT = 10_000
MAX_INT = 2**63


def bounded(value: Any) -> Any:
    """The value, unless it is an integer beyond 64 bits or a very long list. Raises Fault."""
    if isinstance(value, int) and not -MAX_INT <= value < MAX_INT:
        raise Fault("limit", "the result is an integer beyond 64 bits", hint="integers go up to 2^63")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise Fault("limit", f"the text has {len(value):,} characters, more than {MAX_TEXT:,}")
    if isinstance(value, list) and len(value) > MAX_LIST:
        raise Fault("limit", f"the list has {len(value):,} elements, more than {MAX_LIST:,}")
    return value


def weight(value: list[Any]) -> int:
    """How many elements a list holds, those of the lists in it counted where they stand. Raises Fault when they are too many."""
    total, pending = 0, [value]
    while pending:
        current = pending.pop()
        total += len(current)
        if total > MAX_LIST:
            raise Fault("limit", f"the lists in this list have more than {MAX_LIST:,} elements together")
        pending.extend(v for v in current if isinstance(v, list))
    return total


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, Dim):
        if not isinstance(b, int) or not 0 <= b <= 8:
            raise Fault("expression", f"a dynamic size cannot be raised to the power {b}")
        return product([a] * b)
    if isinstance(a, int) and isinstance(b, int) and abs(a) > 1 and abs(b) > 64:
        raise Fault("limit", "the result is an integer beyond 64 bits", hint="integers go up to 2^63")
    return a**b


def _times(a: Any, b: Any) -> Any:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, str):
            raise TypeError("a text cannot be multiplied")
        if isinstance(one, list) and isinstance(other, int) and len(one) * other > MAX_LIST:
            raise Fault("limit", f"the list would have {len(one) * other:,} elements, more than {MAX_LIST:,}")
    return a * b


def _modulo(a: Any, b: Any) -> Any:
    if isinstance(a, str):
        raise TypeError("Python would format the text")
    return a % b


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, Dim) or isinstance(b, Dim):
        raise Fault("expression", f"`/` makes a fraction, and {a if isinstance(a, Dim) else b} is a size", hint="write `//`")
    return a / b


ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _times,
    ast.Div: _divide,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _modulo,
    ast.Pow: _power,
}
ON_TENSORS: dict[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "floor_divide", ast.Mod: "mod", ast.Pow: "pow",
    ast.MatMult: "matmul", ast.USub: "neg", ast.Not: "logical_not", ast.Eq: "equal", ast.NotEq: "not_equal", ast.Lt: "less",
    ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal",
}  # fmt: skip
_SYMBOLS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b, ast.Is: lambda a, b: a is b, ast.IsNot: lambda a, b: a is not b,
}  # fmt: skip


def compared(op: ast.cmpop, a: Any, b: Any) -> bool:
    """A comparison of compile-time values; of sizes only when it holds, or fails, for the whole range. Raises Fault."""
    sizes = any(isinstance(v, Dim) for v in (a, b)) and all(isinstance(v, int | Dim) for v in (a, b))
    if not sizes or type(op) not in _SYMBOLS:
        return bool(_COMPARISONS[type(op)](a, b))
    decided = compare(a, _SYMBOLS[type(op)], b)
    if decided is None:
        hint = "give the dim a range for which it is always true or always false, or use a config value"
        symbols = sorted(frozenset().union(*(v.symbols for v in (a, b) if isinstance(v, Dim))), key=str)
        ranges = " and ".join(f"`{s}` is {s.min} to {s.max}" for s in symbols)
        raise Fault("dynamic", f"whether `{a} {_SYMBOLS[type(op)]} {b}` holds depends on the size at run time: {ranges}", hint=hint)
    return decided


def _range(*bounds: Any) -> list[int]:
    if not 1 <= len(bounds) <= 3 or not all(isinstance(b, int) for b in bounds):
        dynamic = next((b for b in bounds if isinstance(b, Dim)), None)
        raise Fault("type", f"`range` needs fixed whole numbers, not {'the dynamic size ' + str(dynamic) if dynamic else list(bounds)}")
    count = len(range(*bounds))
    if count > MAX_LIST:
        raise Fault("limit", f"`range` would give {count:,} numbers, more than {MAX_LIST:,}")
    return list(range(*bounds))


def _length(value: Any) -> int:
    if not isinstance(value, list | str):
        raise Fault("type", "`len` needs a list", hint="the sizes of a tensor are shape(x)")
    return len(value)


def _extreme(name: str, pick: Callable[[Any], Any]) -> Callable[..., Any]:
    def function(*values: Any) -> Any:
        items = values[0] if len(values) == 1 and isinstance(values[0], list) else list(values)
        if any(isinstance(v, Dim) for v in items):
            return _extreme_size(name, items)
        return pick(items)

    return function


def _extreme_size(name: str, items: list[Any]) -> Any:
    best = items[0]
    for item in items[1:]:
        decided = compare(item, "<=" if name == "min" else ">=", best)
        if decided is None:
            raise Fault("dynamic", f"`{name}` of {best} and {item} depends on the size at run time")
        best = item if decided else best
    return best


def _sum(items: list[Any]) -> Any:
    if items and all(isinstance(i, list) for i in items):
        return list(itertools.islice(itertools.chain.from_iterable(items), MAX_LIST + 1))
    return sum(items[1:], items[0]) if items else 0


def _product(items: list[Any]) -> Any:
    total: Any = 1
    for item in items:
        total = bounded(total * item)
    return total


def _on_list(name: str, function: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def checked(items: Any) -> Any:
        if not isinstance(items, list):
            raise Fault("type", f"`{name}` needs a list, but it is given {shown(items)}")
        return function(items)

    return checked


def _int(value: Any) -> Any:
    return value if isinstance(value, Dim) else int(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "range": _range,
    "len": _length,
    "enumerate": _on_list("enumerate", lambda items: [[i, v] for i, v in enumerate(items)]),
    "zip": lambda *lists: [list(v) for v in zip(*lists, strict=True)],
    "reversed": _on_list("reversed", lambda items: list(reversed(items))),
    "sorted": _on_list("sorted", sorted),
    "sum": _on_list("sum", _sum),
    "prod": _on_list("prod", _product),
    "min": _extreme("min", min),
    "max": _extreme("max", max),
    "abs": abs,
    "int": _int,
    "float": float,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "log2": math.log2,
    "exp": math.exp,
    "log": math.log,
}
