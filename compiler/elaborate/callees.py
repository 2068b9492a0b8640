"""Expressions where a block is due: names are callees first, calls are partial applications, lists hold callees."""

from __future__ import annotations

import ast
from typing import Any

from lamina.compiler.elaborate.arithmetic import ARITHMETIC
from lamina.compiler.elaborate.bounds import bounded
from lamina.compiler.elaborate.expression_calls import arguments
from lamina.compiler.elaborate.lookup import find_callee, need_callee
from lamina.compiler.elaborate.names import WORDS
from lamina.compiler.elaborate.site import Site
from lamina.compiler.elaborate.values import CALLEES, Callee, Partial
from lamina.schema.diagnostics import Fault


def callee_of(site: Site, tree: ast.expr) -> Callee | list[Any] | None:
    """What a tree names where a block is due; null is none. Raises Fault."""
    match tree:
        case ast.Name() if tree.id not in site.frame.values and (found := find_callee(tree.id, site.frame)) is not None:
            return found
        case ast.Call(func=ast.Name()):
            return _partial(site, tree)
        case ast.IfExp():
            return callee_of(site, tree.body if site.truth(tree.test) else tree.orelse)
        case ast.List():
            return [callee_of(site, e) for e in tree.elts]
        case ast.BinOp(op=ast.Mult() | ast.Add()):
            sides = [callee_of(site, s) if isinstance(s, ast.List) else site.value(s) for s in (tree.left, tree.right)]
            return bounded(ARITHMETIC[type(tree.op)](*sides))  # type: ignore[no-any-return]
    return _held(site, tree)


def _partial(site: Site, tree: ast.Call) -> Partial:
    assert isinstance(tree.func, ast.Name)
    positional, named = arguments(site, tree)
    return Partial(need_callee(tree.func.id, site.frame, site.place(tree.func)), positional, named)


def _held(site: Site, tree: ast.expr) -> Callee | list[Any] | None:
    """A value that is a block, or a list of blocks."""
    result = None if _names_nothing(site, tree) else site.value(tree)
    if result is None and isinstance(tree, ast.Constant):
        return None
    if isinstance(result, CALLEES) or (isinstance(result, list) and all(isinstance(r, CALLEES) for r in result)):
        return result
    if isinstance(tree, ast.Name) and result is None:
        return need_callee(tree.id, site.frame, site.place(tree))
    raise Fault("type", f"`{ast.unparse(tree)}` is not a block", site.place(tree), "name an op or block, or write steps in [ ]")


def _names_nothing(site: Site, tree: ast.expr) -> bool:
    return isinstance(tree, ast.Name) and tree.id not in WORDS and tree.id not in site.frame.visible()
