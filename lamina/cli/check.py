"""lamina check"""

from __future__ import annotations

from typing import Annotated

import typer

from lamina.cli._options import Json, Precision, Set, Spec, Target, Variant, read


def command(
    spec: Spec,
    variant: Variant = None,
    set_: Set = None,
    target: Annotated[Target | None, typer.Option(help="Also ask this target: what it accepts builds.")] = None,
    precision: Annotated[Precision, typer.Option(help="As of `lamina compile`, for its target.")] = "float32",
    json: Json = False,
) -> None:
    """Check a spec: every mistake at once, each at its line.

    With --json the mistakes are a list of objects on stdout, empty when there are none.
    """
    from lamina.compiler.precision import target_of
    from lamina.schema.diagnostics import SpecError

    if (home := target_of(precision)) is not None and target != home:
        raise typer.BadParameter(f"{precision} is a precision of the target {home}; add --target {home}", param_hint="--precision")
    try:
        model = read(spec, variant, set_)
        text = _checked(model, target, precision)
    except SpecError as error:
        if not json:
            raise
        _print_json(error)
        raise typer.Exit(1) from error
    print("[]" if json else text)


def _checked(model: object, target: str | None, precision: Precision) -> str:
    from lamina.compiler.cost import steps
    from lamina.compiler.elaborate import elaborate
    from lamina.compiler.summary import human, parameter_count
    from lamina.schema.spec import ModelSpec

    assert isinstance(model, ModelSpec)
    graph = elaborate(model).graph
    if target is not None:
        from lamina.compiler.support import check_target

        check_target(model, target, precision)
    name = f"{model.model} ({model.variant})" if model.variant else model.model
    return f"ok: {name}: {human(parameter_count(graph))} parameters, {len(steps(graph))} ops"


def _print_json(error: object) -> None:
    import json

    from lamina.schema.diagnostics import SpecError

    assert isinstance(error, SpecError)
    print(json.dumps([d.as_json() for d in error.diagnostics], indent=1))
