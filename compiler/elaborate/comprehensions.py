"""List comprehensions over compile-time lists."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from lamina.compiler.elaborate.bounds import bounded
from lamina.compiler.elaborate.names import value_or_callee
from lamina.compiler.elaborate.scope import Scope
from lamina.compiler.elaborate.site import Site
from lamina.compiler.elaborate.words import shown
from lamina.schema.diagnostics import Fault


def comprehension(site: Site, tree: ast.ListComp) -> list[Any]:
    """`[element for a in list if condition]`. Its names live in it only."""
    saved = dict(site.frame.values)
    try:
        return _elements(site, tree.elt, tree.generators, site.context.scope.elements())
    finally:
        site.frame.values.clear()
        site.frame.values.update(saved)


def _elements(site: Site, element: ast.expr, generators: list[ast.comprehension], scopes: Iterator[Scope]) -> list[Any]:
    if not generators:
        if not _calls(element):
            return [value_or_callee(site, element)]
        with site.context.within(next(scopes)):
            return [site.value(element)]
    head, *rest = generators
    items, found = site.value(head.iter), []
    if not isinstance(items, list):
        raise Fault("type", f"`{ast.unparse(head.iter)}` is not a list", site.place(head.iter))
    for item in items:
        _bind(site, head.target, item)
        if all(site.truth(test) for test in head.ifs):
            found += _elements(site, element, rest, scopes)
    return bounded(found)  # type: ignore[no-any-return]


@lru_cache(maxsize=1024)
def _calls(element: ast.expr) -> bool:
    """Whether an element may make weights."""
    return any(isinstance(node, ast.Call) for node in ast.walk(element))


def _bind(site: Site, target: ast.expr, item: Any) -> None:
    if isinstance(target, ast.Name):
        site.frame.values[target.id] = item
        return
    assert isinstance(target, ast.Tuple | ast.List)
    if not isinstance(item, list) or len(item) != len(target.elts):
        raise Fault("assignment", f"{len(target.elts)} names are bound, but an element is {shown(item)}", site.place(target))
    for name, part in zip(target.elts, item, strict=True):
        _bind(site, name, part)
