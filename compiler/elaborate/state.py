"""`state:`, which this version parses only."""

from __future__ import annotations

from collections.abc import Iterable

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.values import UNKNOWN, Frame
from lamina.schema.spec import TensorDecl


def declare_state(context: Context, declared: Iterable[TensorDecl], frame: Frame) -> None:
    """Say of each that it cannot be compiled yet; what depends on it is unknown."""
    for state in declared:
        context.collector.error("not-yet", "this version parses `state` and cannot compile it yet", state.span)
        frame.values[state.name] = UNKNOWN
