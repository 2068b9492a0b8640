"""lamina show"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lamina.cli._options import At, Set, Spec, Target, Variant, read, sizes

Format = Literal["table", "json", "mermaid", "html"]


def command(
    spec: Spec,
    variant: Variant = None,
    set_: Set = None,
    at: At = None,
    depth: Annotated[int | None, typer.Option(help="Sum up steps whose paths share this many parts: 1 shows stages.", min=1)] = None,
    format: Annotated[Format, typer.Option(help="How to show it.")] = "table",  # the option's name
    target: Annotated[Target | None, typer.Option(help="Show the operators that this target gets instead of the spec's ops.")] = None,
) -> None:
    """Show every step of a model.

    Its path, output shape, parameters, multiply-adds, and the memory that its output takes.
    """
    from lamina.compiler.elaborate import elaborate
    from lamina.compiler.summary import within
    from lamina.compiler.views import operators_view, steps_view

    found = read(spec, variant, set_)
    model, chosen = elaborate(found), sizes(at)
    for problem in within(model.dims, chosen):
        raise typer.BadParameter(problem, param_hint="--at")
    title = f"{found.model} ({found.variant})" if found.variant else found.model
    view = operators_view(title, model, target, depth) if target else steps_view(title, model, chosen, depth)
    print(view.render(format))
