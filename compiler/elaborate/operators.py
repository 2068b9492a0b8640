"""Operators: arithmetic and comparison of compile-time values, and the ops that they stand for on tensors."""

from __future__ import annotations

import ast
from typing import Any

from lamina.compiler.elaborate.arithmetic import ARITHMETIC, ON_TENSORS, compared
from lamina.compiler.elaborate.site import Site
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Value
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import Dim


def unary(site: Site, tree: ast.UnaryOp) -> Any:
    """`-a`, `+a`, `not a`."""
    value = site.value(tree.operand)
    if isinstance(value, Value):
        return value if isinstance(tree.op, ast.UAdd) else site.apply(ON_TENSORS[type(tree.op)], tree, value)
    if isinstance(tree.op, ast.Not):
        return not need_bool(value, "not", tree.operand)
    if isinstance(value, bool) or not isinstance(value, int | float | Dim):
        raise Fault("type", f"`{ast.unparse(tree)}` cannot be computed from {shown(value)}")
    return value if isinstance(tree.op, ast.UAdd) else -value


def binary(site: Site, tree: ast.BinOp) -> Any:
    """`a + b` and its like."""
    a, b = site.value(tree.left), site.value(tree.right)
    if isinstance(a, Value) or isinstance(b, Value):
        if isinstance(a, list) or isinstance(b, list):
            raise Fault("type", "a list and a tensor cannot be combined", hint="index the list, or concat it")
        return site.apply(ON_TENSORS[type(tree.op)], tree, a, b)
    if isinstance(tree.op, ast.MatMult):
        raise Fault("type", "`@` needs tensors")
    try:
        return ARITHMETIC[type(tree.op)](a, b)
    except TypeError as error:
        raise Fault("type", f"`{ast.unparse(tree)}` cannot be computed from {shown(a)} and {shown(b)}") from error


def boolean(site: Site, tree: ast.BoolOp) -> bool:
    """`a and b`, `a or b`: as many operands as it takes."""
    stop = isinstance(tree.op, ast.Or)
    word = "or" if stop else "and"
    return stop if any(need_bool(site.value(v), word, v) is stop for v in tree.values) else not stop


def need_bool(value: Any, word: str, tree: ast.expr) -> bool:
    """An operand of `and`, `or`, `not`. Raises Fault: what is true of a number or a list is written out."""
    if isinstance(value, bool):
        return value
    text = ast.unparse(tree)
    if isinstance(value, Value):
        hint = f"write logical_{word}(...), or where(condition, a, b) to choose between tensors"
        raise Fault("type", f"`{text}` is a tensor, and `{word}` is decided at compile time", hint=hint)
    raise Fault("type", f"`{word}` needs true or false, but `{text}` is {shown(value)}", hint=_as_condition(text, value))


def _as_condition(text: str, value: Any) -> str:
    if isinstance(value, int | float | Dim):
        return f"write `{text} != 0`"
    return f"write `len({text}) > 0`" if isinstance(value, list | str) else f"write `{text} is not null`"


def comparison(site: Site, tree: ast.Compare) -> Any:
    """`a < b`, `a < b < c`, `a in b`, `a is null`."""
    left = site.value(tree.left)
    for op, node in zip(tree.ops, tree.comparators, strict=True):
        right = site.value(node)
        if (isinstance(left, Value) or isinstance(right, Value)) and type(op) in ON_TENSORS:
            if len(tree.ops) > 1:
                raise Fault("expression", "a chain of comparisons needs compile-time values", hint="write logical_and(a < b, b < c)")
            return site.apply(ON_TENSORS[type(op)], tree, left, right)
        if not compared(op, left, right):
            return False
        left = right
    return True
