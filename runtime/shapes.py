"""Sizes of a manifest: an integer, or text over dims such as `H // 4`. Parsed by a whitelist, never executed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache

_LONGEST, _DEEPEST, _LARGEST = 2000, 100, 2**63 - 1
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}


def names(size: int | str) -> frozenset[str]:
    """The dims that a size depends on. ValueError if the text is not a size."""
    return frozenset() if isinstance(size, int) else frozenset(node.id for node in ast.walk(_parse(size)) if isinstance(node, ast.Name))


def divides(size: int | str) -> bool:
    """Whether it divides by anything but a number other than zero."""
    if isinstance(size, int):
        return False
    found = (node for node in ast.walk(_parse(size)) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv | ast.Mod))
    return any(not isinstance(node.right, ast.Constant) or node.right.value == 0 for node in found)


def evaluate(size: int | str, dims: Mapping[str, int]) -> int:
    """The size at these dims. ValueError if a dim is not known, a divisor is zero, or the result does not fit 64 bits."""
    return size if isinstance(size, int) else _value(_parse(size), dims)


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise ValueError(f"a size of {len(text)} characters; at most {_LONGEST} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError, ValueError):
        raise ValueError(f"`{text}` is not a size") from None
    _check(tree, text, depth=0)
    return tree


def _check(node: ast.expr, text: str, depth: int) -> None:
    match node:
        case ast.Name():
            return
        case ast.Constant(value=value) if type(value) is int:
            return
        case ast.UnaryOp(op=ast.USub(), operand=operand) if depth < _DEEPEST:
            _check(operand, text, depth + 1)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS and depth < _DEEPEST:
            _check(left, text, depth + 1)
            _check(right, text, depth + 1)
        case _:
            raise ValueError(f"`{text}` is not a size: only dims, integers and + - * // % may stand in it, {_DEEPEST} deep at most")


def _value(node: ast.expr, dims: Mapping[str, int]) -> int:
    value = _raw_value(node, dims)
    if abs(value) > _LARGEST:
        raise ValueError(f"`{ast.unparse(node)}` does not fit 64 bits")
    return value


def _raw_value(node: ast.expr, dims: Mapping[str, int]) -> int:
    match node:
        case ast.Name(id=name):
            if name not in dims:
                raise ValueError(f"the dim `{name}` is not known")
            return dims[name]
        case ast.UnaryOp(operand=operand):
            return -_value(operand, dims)
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = _value(left, dims), _value(right, dims)
            if b == 0 and isinstance(operator, ast.FloorDiv | ast.Mod):
                raise ValueError(f"`{ast.unparse(node)}` divides by zero")
            return _OPERATORS[type(operator)](a, b)
        case ast.Constant(value=int(value)):
            return value
    raise AssertionError(f"{ast.dump(node)} passed the whitelist")
