"""Arithmetic and comparison of compile-time values: exact, and bounded in work."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from lamina.compiler import elementary
from lamina.compiler.elaborate.bounds import MAX_LIST
from lamina.compiler.elaborate.words import shown
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import Dim, compare, product, undecided


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, Dim):
        if not isinstance(b, int) or not 0 <= b <= 8:
            raise Fault("expression", f"a dynamic size cannot be raised to the power {b}")
        return product([a] * b)
    if isinstance(a, int) and isinstance(b, int) and abs(a) > 1 and abs(b) > 64:
        raise Fault("limit", "the result is an integer beyond 64 bits", hint="integers go up to 2^63")
    result = a**b
    if isinstance(result, complex):
        raise Fault("expression", f"{a} to the power {b} is not a real number")
    return float(elementary.power(a, b)) if isinstance(result, float) else result


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
    if sizes and type(op) in _SYMBOLS:
        return _decided(a, _SYMBOLS[type(op)], b)
    try:
        return bool(_COMPARISONS[type(op)](a, b))
    except TypeError as error:
        raise Fault("type", f"{shown(a)} and {shown(b)} cannot be compared in this way") from error


def _decided(a: Any, symbol: str, b: Any) -> bool:
    decided = compare(a, symbol, b)
    if decided is None:
        hint = "give the dim a range for which it is always true or always false, or use a config value"
        raise Fault("dynamic", undecided(a, symbol, b), hint=hint)
    return decided
