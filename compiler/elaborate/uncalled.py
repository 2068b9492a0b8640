"""Blocks that no step calls are run on unknown values, for their names and arguments."""

from __future__ import annotations

from lamina.compiler.elaborate.body import run_body
from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.modules import declare_modules
from lamina.compiler.elaborate.scope import Scope
from lamina.compiler.elaborate.state import enter_states
from lamina.compiler.elaborate.values import UNKNOWN, Frame
from lamina.schema.spec import Block


def run_uncalled(context: Context) -> None:
    """Check every block of the file that has not been called."""
    for block in context.spec.file.blocks.values():
        if block.name not in context.called:
            with context.within(Scope(f"{block.name} (never called)")):
                context.guard(lambda b=block: _run(context, b), block.span)  # type: ignore[misc]


def _run(context: Context, block: Block) -> None:
    arguments = {a.name: UNKNOWN for a in block.args}
    frame = Frame(context.spec.file, dict.fromkeys(block.inputs, UNKNOWN), arguments, globals=context.globals)
    enter_states(context, block.state, frame)
    declare_modules(context, block.modules, frame)
    run_body(context, block.body, frame)
