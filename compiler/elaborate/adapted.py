"""Calls that an adaptation stands around: its steps run in their place, and call the original as `step`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.compiler.elaborate.adaptations import OWN
from lamina.compiler.elaborate.body import run_body
from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.resolve import resolve
from lamina.compiler.elaborate.scope import Scope
from lamina.compiler.elaborate.values import Frame, Original, Request
from lamina.compiler.elaborate.wants import ANYTHING
from lamina.schema.diagnostics import Fault
from lamina.schema.spec import Adaptation

Run = Callable[[Any, Scope], Any]  # what stands under an adaptation: of its first input, in a scope that names its weights


def adapted(context: Context, scope: Scope, x: Any, run: Run) -> Any:
    """What a call in this scope gives, with the first rule around it whose pattern matches its path."""
    found = context.adapt.find(scope.path)
    return run(x, scope) if found is None else _around(context, *found, scope, x, run)


def adapted_body(context: Context, frame: Frame, run: Callable[[], None]) -> None:
    """The model's body, with the rule for the whole around it if there is one: `x` is what it begins with, and what it leaves."""
    context.adapt.inputs = dict(frame.values)
    context.adapt.modules = frame.modules
    rule = context.adapt.whole()
    if rule is None:
        return run()

    def again(x: Any, inner: Scope) -> Any:
        frame.values["x"] = x
        with context.within(inner):
            run()
        return frame.values.get("x")

    frame.values["x"] = _around(context, rule, {}, Scope(), frame.values.get("x"), again, left=frame)
    return None


def call_original(context: Context, original: Original, request: Request) -> Any:
    """`step(x)`."""
    if len(request.inputs) != 1 or request.arguments or request.named:
        raise Fault("argument", "`step` takes what goes into it, and keeps all else as it is called", request.span, "write `step(x)`")
    return original.run(resolve(context, request.inputs[0], ANYTHING))


def _around(context: Context, rule: Adaptation, names: dict[str, Any], scope: Scope, x: Any, run: Run, left: Frame | None = None) -> Any:
    """Run the rule's steps. They see the names and modules of the adaptation around them, outside of any the model's inputs and modules;
    what they assign to names of the adaptation around them stays assigned.

    What they assign is left in the frame `left`, too: outputs may be what the rule for the whole model assigns.
    """
    outer = context.adapt.around[-1] if context.adapt.around else None
    modules = dict(outer.modules if outer else context.adapt.modules)
    values = dict(outer.values if outer else context.adapt.inputs)
    frame = Frame(context.spec.file, values, modules=modules, globals=context.globals)
    calls = 0

    def original(given: Any) -> Any:
        nonlocal calls
        calls += 1
        context.adapt.around.append(frame)
        try:
            return run(given, Scope(scope.path, scope.shared or calls > 1))  # named as if nothing stood around it, each time the same
        finally:
            context.adapt.around.pop()

    own = {**names, "step": Original(original)}
    frame.values.update(own, x=x)
    with context.within(Scope(scope.join(OWN), scope.shared)):
        result = run_body(context, rule.flow, frame)
    if left is not None:
        left.values.update({name: value for name, value in frame.values.items() if name not in own})
    if outer is not None:
        outer.values.update({name: frame.values[name] for name in outer.values if name not in own and name != "x"})
    return result
