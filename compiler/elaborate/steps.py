"""Steps, run in order: one function for each kind, and what a step that fails leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.joins import branches, residual
from lamina.compiler.elaborate.loops import for_, repeat
from lamina.compiler.elaborate.modules import declare_modules
from lamina.compiler.elaborate.recurrences import iterate, scan
from lamina.compiler.elaborate.simple_steps import call, if_, statement
from lamina.compiler.elaborate.values import UNKNOWN, Frame, Poisoned
from lamina.schema import spec as s
from lamina.schema.diagnostics import Fault


def run(context: Context, flow: s.Flow, frame: Frame) -> None:
    """Run steps; a step that fails leaves unknown values, and the next ones are still checked. Raises Poisoned when it is time to stop."""
    for step in flow.steps:
        context.budget.step(step.span)
        try:
            _step(context, step, frame)
        except Fault as fault:
            context.report(fault, step.span)
            _poison(step, frame)
            if fault.code == "limit" or context.budget.exhausted:
                raise Poisoned from fault
        except Poisoned:
            _poison(step, frame)
            if context.budget.exhausted:
                raise


def _step(context: Context, step: s.Step, frame: Frame) -> None:
    match step:
        case s.Call():
            call(context, step, frame)
        case s.Statement():
            statement(context, step, frame)
        case s.Residual():
            residual(context, step, frame)
        case s.Branches():
            branches(context, step, frame)
        case s.Repeat():
            repeat(context, step, frame)
        case s.For():
            for_(context, step, frame)
        case s.If():
            if_(context, step, frame)
        case s.Modules():
            declare_modules(context, step, frame)
        case s.Scan() | s.Map():
            scan(context, step, frame)
        case s.Iterate():
            iterate(context, step, frame)
        case s.Broken():
            raise Poisoned


def _poison(step: s.Step, frame: Frame) -> None:
    """Mark what the step should have set as unknown, so that one mistake is reported once."""
    if isinstance(step, s.Statement) and step.assignment.targets:
        frame.values.update(dict.fromkeys(step.assignment.targets, UNKNOWN))
    elif isinstance(step, s.Scan | s.Iterate | s.Map):
        carried = [] if isinstance(step, s.Map) else step.carry
        collected = [] if isinstance(step, s.Iterate) else step.collect
        frame.values.update(dict.fromkeys([name for name, _ in (*carried, *collected)], UNKNOWN))
    elif not isinstance(step, s.Modules):
        frame.values["x"] = UNKNOWN
        for inner in _inside(step):
            frame.lost = frame.lost or isinstance(inner, s.Broken)
            for name in _assigned(inner):
                # What a loop or a choice that did not run would have changed is not what it was before.
                kept = not isinstance(step, s.For | s.Repeat | s.If) and name in frame.values
                frame.values[name] = frame.values[name] if kept else UNKNOWN


def _inside(step: s.Step) -> Iterator[s.Step]:
    """The step and every step below it, run or not."""
    yield step
    for field in type(step).model_fields:
        value = getattr(step, field)
        for flow in value if isinstance(value, tuple) else (value,):
            if isinstance(flow, s.Flow):
                for inner in flow.steps:
                    yield from _inside(inner)


def _assigned(step: s.Step) -> tuple[str, ...]:
    """The names that a step itself gives values to."""
    if isinstance(step, s.Statement):
        return step.assignment.targets
    return step.targets if isinstance(step, s.For) else ()
