"""Numbers that a section outside the body may compute from the config."""

from __future__ import annotations

import math

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import Frame
from lamina.compiler.elaborate.words import shown
from lamina.schema.diagnostics import Fault
from lamina.schema.expressions import Expression


def whole_number(context: Context, given: int | Expression, frame: Frame, words: str, code: str, least: int = 1) -> int:
    """Its value; `words` begin the message. Raises Fault or Poisoned."""
    if isinstance(given, int):
        return given
    value = formula(context, given, frame)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        message = f"{words} a whole number of at least {least}, but it is {shown(value)}"
        raise Fault(code, message, given.place(given.tree))
    return value


def finite_number(context: Context, given: float | Expression, frame: Frame, words: str, code: str) -> float:
    """Its value; `words` begin the message. Raises Fault or Poisoned."""
    if not isinstance(given, Expression):
        return given
    value = formula(context, given, frame)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Fault(code, f"{words} a number, but it is {shown(value)}", given.place(given.tree))
    return value
