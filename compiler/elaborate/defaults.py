"""The defaults of config entries and block arguments."""

from __future__ import annotations

from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.convert import convert
from lamina.compiler.elaborate.resolve import formula, resolve
from lamina.compiler.elaborate.values import Frame, Given
from lamina.compiler.elaborate.wants import want_of_type
from lamina.schema.expressions import Expression
from lamina.schema.tree import Node, plain
from lamina.schema.types import TypeDecl


def default(context: Context, declared: TypeDecl, frame: Frame, name: str) -> Any:
    """The value of a default, null where none is written. Raises Fault or Poisoned."""
    if declared.default is None:
        return None
    value = _value(context, declared, declared.default, frame)
    return convert(value, declared, f"`{name}`", declared.default.span)


def _value(context: Context, declared: TypeDecl, written: Expression | Node, frame: Frame) -> Any:
    if isinstance(written, Expression):
        return formula(context, written, frame, want_of_type(declared))
    return resolve(context, Given(written.span, frame, written), want_of_type(declared)) if declared.blocks else plain(written)
