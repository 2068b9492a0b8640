"""What an argument's type asks for: read off a pydantic field, or off a declared type."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lamina.compiler.body import Body
from lamina.compiler.op import Op
from lamina.schema.dims import DTYPES
from lamina.schema.types import TypeDecl


@dataclass(frozen=True, slots=True)
class Want:
    """A string is taken literally when it is one of `choices` or any text will do; a callee is looked up where a block is due."""

    text: bool = False
    choices: frozenset[str] = frozenset()
    block: bool = False
    item: Want | None = None

    @property
    def blocks(self) -> bool:
        """Whether a block is due, or a list of blocks."""
        return self.block or (self.item is not None and self.item.blocks)


ANYTHING = Want()


@cache
def want_of_field(op: type[Op], field: str) -> Want:
    """What an op's argument asks for."""
    return _want(typing.get_type_hints(op, include_extras=True)[field])


@cache
def want_of_type(declared: TypeDecl) -> Want:
    """What a block's argument or a config value asks for."""
    return Want(
        text=declared.kind == "str" and not declared.choices,
        choices=frozenset(DTYPES if declared.kind == "dtype" else declared.choices),
        block=declared.kind == "block",
        item=want_of_type(declared.item) if declared.item else None,
    )


def _want(annotation: Any) -> Want:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _want(get_args(annotation)[0])
    if annotation is Body:
        return Want(block=True)
    if origin is Literal:
        return Want(choices=frozenset(a for a in get_args(annotation) if isinstance(a, str)))
    if origin in (Union, types.UnionType):
        parts = [_want(a) for a in get_args(annotation)]
        item = next((p.item for p in parts if p.item), None)
        return Want(any(p.text for p in parts), frozenset().union(*(p.choices for p in parts)), any(p.block for p in parts), item)
    if origin in (list, tuple):
        return Want(item=_want(get_args(annotation)[0]))
    return Want(text=annotation is str)
