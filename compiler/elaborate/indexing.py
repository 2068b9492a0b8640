"""`x[...]`: lists at compile time, tensors through the ops select, slice, unsqueeze and gather."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from lamina.compiler.elaborate.site import Site
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Value
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import Dim


def subscript(site: Site, tree: ast.Subscript) -> Any:
    """An element or a part of a list or tensor."""
    value = site.value(tree.value)
    items = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
    indices = [_index(site, i) for i in items]
    if isinstance(value, Value):
        return index_tensor(lambda op, *a, **k: site.apply(op, tree, *a, **k), value, indices)
    return index_list(value, indices, ast.unparse(tree.value))


def _index(site: Site, tree: ast.expr) -> Any:
    if isinstance(tree, ast.Slice):
        return slice(*(None if p is None else site.value(p) for p in (tree.lower, tree.upper, tree.step)))
    return site.value(tree)


def index_list(value: Any, indices: list[Any], text: str) -> Any:
    """An element or a part of a compile-time list. Raises Fault."""
    if not isinstance(value, list | str) or len(indices) != 1:
        raise Fault("type", f"`{text}` cannot be indexed: it is {shown(value)}")
    index = indices[0]
    if isinstance(index, int) and not -len(value) <= index < len(value):
        raise Fault(
            "index",
            f"`{text}` has {len(value)} elements, and the index is {index}",
            hint=f"use {-len(value)} to {len(value) - 1}" if value else "",
        )
    if not isinstance(index, int | slice) or (isinstance(index, slice) and not _fixed(index)):
        raise Fault("type", f"a list is indexed with a fixed whole number, not {shown(index)}")
    return value[index]


def _fixed(part: slice) -> bool:
    ends = (part.start, part.stop, part.step)
    return all(e is None or (isinstance(e, int) and not isinstance(e, bool)) for e in ends) and part.step != 0


def index_tensor(op: Callable[..., Value], x: Value, indices: list[Any]) -> Value:
    """NumPy's basic indexing (integers, slices, None, ...) and one integer tensor. Raises Fault."""
    consumed = sum(1 for i in indices if i is not None and i is not Ellipsis)
    if consumed > x.rank:
        raise Fault("index", f"{consumed} indices for a tensor of {x.rank} dimensions, {x.type}")
    if indices.count(Ellipsis) > 1:
        raise Fault("index", "`...` may stand once")
    if Ellipsis not in indices:
        indices = [*indices, Ellipsis]
    at = indices.index(Ellipsis)
    indices = indices[:at] + [slice(None)] * (x.rank - consumed) + indices[at + 1 :]
    dim = 0
    for index in indices:
        x, dim = _one(op, x, index, dim)
    return x


def _one(op: Callable[..., Value], x: Value, index: Any, dim: int) -> tuple[Value, int]:
    if index is None:
        return op("unsqueeze", x, dims=dim), dim + 1
    if isinstance(index, slice):
        if index == slice(None):
            return x, dim + 1
        given = {"start": index.start, "end": index.stop, "step": index.step}
        return op("slice", x, dim=dim, **{k: v for k, v in given.items() if v is not None}), dim + 1
    if isinstance(index, Value):
        return op("gather", x, index, dim=dim), dim + index.rank
    if isinstance(index, bool) or not isinstance(index, int | Dim):
        raise Fault("index", f"a tensor is indexed with whole numbers, slices, None, ... or an integer tensor, not {shown(index)}")
    return op("select", x, dim=dim, index=index), dim
