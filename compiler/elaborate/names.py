"""A lone name in an expression: a value, or a message that says why it is none."""

from __future__ import annotations

import ast
from typing import Any

from lamina.compiler.elaborate.lookup import find_callee
from lamina.compiler.elaborate.site import Site
from lamina.compiler.elaborate.values import Poisoned
from lamina.schema.diagnostics import Fault, did_you_mean

WORDS = {"true": True, "false": False, "null": None}


def named(site: Site, name: str) -> Any:
    """The value of a name. Raises Fault, or Poisoned where a failed step may have set it."""
    if name in WORDS:
        return WORDS[name]
    try:
        return site.frame.lookup(name)
    except KeyError:
        raise _undefined(site, name) from None


def value_or_callee(site: Site, tree: ast.expr) -> Any:
    """A value; or what a lone name calls, where it names no value: on the right of `=` and in lists, callees are values."""
    if isinstance(tree, ast.Name) and tree.id not in WORDS and tree.id not in site.frame.visible():
        found = find_callee(tree.id, site.frame)
        if found is not None:
            return found
    return site.value(tree)


def _undefined(site: Site, name: str) -> Exception:
    if find_callee(name, site.frame) is not None:
        return Fault("type", f"`{name}` is something to call, not a value", hint=f"write `{name}(x)`")
    if site.frame.lost:
        return Poisoned()
    known = site.frame.visible()
    if name == "x":
        return Fault("undefined-name", "there is no current value `x` here", hint=f"name one: {', '.join(known[:8])}")
    return Fault("undefined-name", f"`{name}` is not defined here", hint=_hint(site, name, known))


def _hint(site: Site, name: str, known: list[str]) -> str:
    if name in site.context.later:
        return f"a default sees the entries above it only: move `{name}` up"
    return did_you_mean(name, known) or (f"known here: {', '.join(known[:12])}" if known else "")
