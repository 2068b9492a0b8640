"""lamina show"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lamina.cli._options import At, Set, Spec, Variant, read, sizes

Format = Literal["table", "json", "mermaid", "html"]


def command(
    spec: Spec,
    variant: Variant = None,
    set_: Set = None,
    at: At = None,
    format: Annotated[Format, typer.Option(help="How to show it.")] = "table",  # the option's name
    target: Annotated[str | None, typer.Option(help="Show the operators that this target gets instead of the ops.")] = None,
) -> None:
    """Every step: output shape, parameters, multiply-adds, memory."""
    from lamina.compiler.elaborate import elaborate
    from lamina.compiler.summary import summarize, within
    from lamina.compiler.views import operators, render

    model = elaborate(read(spec, variant, set_))
    chosen = sizes(at)
    for problem in within(model.dims, chosen):
        raise typer.BadParameter(problem, param_hint="--at")
    summary = operators(model, target) if target else summarize(model, chosen)
    print(render(model, summary, format))
