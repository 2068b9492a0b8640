"""The body of a block: its steps, and what leaves."""

from __future__ import annotations

from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.resolve import formula
from lamina.compiler.elaborate.values import Frame
from lamina.schema.diagnostics import Fault
from lamina.schema.spec import Flow, Statement


def run_body(context: Context, flow: Flow, frame: Frame) -> Any:
    """Run the steps and give the result. Raises Fault or Poisoned."""
    context.run(flow, frame)
    if flow.result is not None:
        return formula(context, flow.result, frame)
    last = flow.steps[-1] if flow.steps else None
    if isinstance(last, Statement) and last.assignment.targets and "x" not in last.assignment.targets:
        raise _ends_by_assigning(last)
    if "x" not in frame.values:
        raise Fault("result", "the body never sets `x`, so it does not say what leaves", flow.span, "add `result:` beside `body:`")
    return frame.values["x"]


def _ends_by_assigning(last: Statement) -> Fault:
    targets = last.assignment.targets
    message = f"the body ends by assigning `{', '.join(targets)}`, so it does not say what leaves"
    return Fault("result", message, last.span, f"add `result: {targets[0]}` beside `body:`, or assign to `x`")
