"""Calls inside expressions: compile-time functions, questions about a tensor, and everything that steps can call."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

from lamina.compiler.elaborate.functions import FUNCTIONS, compute
from lamina.compiler.elaborate.lookup import find_callee, need_callee
from lamina.compiler.elaborate.scope import Label
from lamina.compiler.elaborate.site import Site
from lamina.compiler.elaborate.values import Callee, Given, OpCallee, Request
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Value
from lamina.schema.diagnostics import Fault

_FOLDS = {"sum": "add", "prod": "mul"}


def call(site: Site, tree: ast.Call) -> Any:
    """`name(...)` or `list[i](...)`."""
    if not isinstance(tree.func, ast.Name):
        return _computed(site, tree)
    name = tree.func.id
    if name in ("shape", "rank", "dtype") and len(tree.args) == 1:
        return _about(site, name, tree.args[0])
    callee = find_callee(name, site.frame)
    if name in FUNCTIONS and not tree.keywords and (callee is None or isinstance(callee, OpCallee)):
        return _function(site, name, callee, tree)
    callee = callee or need_callee(name, site.frame, site.place(tree.func))
    return site.context.call(callee, _request(site, tree, Label(name, fixed=False)))


def arguments(site: Site, tree: ast.Call) -> tuple[tuple[Given, ...], dict[str, Given]]:
    """The arguments by position and by name."""

    def given(node: ast.expr) -> Given:
        return Given(site.place(node), site.frame, node, site.expression)

    named = {k.arg: replace(given(k.value), key=site.place(k)) for k in tree.keywords if k.arg}
    return tuple(given(a) for a in tree.args), named


def _request(site: Site, tree: ast.Call, label: Label | None = None) -> Request:
    positional, named = arguments(site, tree)
    return Request(site.place(tree), positional, named=named, label=label)


def _computed(site: Site, tree: ast.Call) -> Any:
    """What is called is itself computed."""
    found = site.callee(tree.func)
    if isinstance(found, list) or found is None:
        raise Fault("type", f"`{ast.unparse(tree.func)}` is not something to call", site.place(tree.func))
    return site.context.call(found, _request(site, tree))


def _function(site: Site, name: str, callee: Callee | None, tree: ast.Call) -> Any:
    """A compile-time function, or the op of the same name where an argument is a tensor."""
    values = [site.value(a) for a in tree.args]
    if callee is None or not any(_holds_tensor(v) for v in values):
        return compute(name, values)
    if name in _FOLDS and len(values) == 1 and isinstance(values[0], list):
        return _folded(site, _FOLDS[name], values[0], tree)
    if name in ("max", "min"):
        _refuse_two(name, values)
    given = tuple(Given(site.place(a), site.frame, value=v) for a, v in zip(tree.args, values, strict=True))
    return site.context.call(callee, Request(site.place(tree), given, label=Label(name, fixed=False)))


def _folded(site: Site, op: str, values: list[Any], tree: ast.expr) -> Any:
    """The sum or product of tensors, elementwise."""
    total = values[0]
    for value in values[1:]:
        total = site.apply(op, tree, total, value)
    return total


def _refuse_two(name: str, values: list[Any]) -> None:
    """`max(x, 0)` means the elementwise maximum to some and the largest along dim 0 to others: both have an unmistakable form."""
    if isinstance(values[0], list) or (len(values) > 1 and isinstance(values[1], Value | float)):
        raise Fault("argument", f"`{name}` reduces one tensor", hint=f"write `{name}imum(x, y)` for the {name}imum of two")
    if len(values) > 1 and isinstance(values[1], int):
        hint = f"write `{name}imum(x, {values[1]})` for the {name}imum of two, or `{name}(x, dims={values[1]})` to reduce a dim"
        raise Fault("argument", f"`{name}(x, {values[1]})` may mean two things", hint=hint)


def _about(site: Site, name: str, tree: ast.expr) -> Any:
    value = site.value(tree)
    if not isinstance(value, Value):
        raise Fault("type", f"`{name}` needs a tensor, and `{ast.unparse(tree)}` is {shown(value)}", site.place(tree))
    return list(value.shape) if name == "shape" else value.rank if name == "rank" else value.dtype


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, Value) or (isinstance(value, list) and any(_holds_tensor(v) for v in value))
