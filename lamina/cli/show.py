"""lamina show"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lamina.cli._options import At, Set, Target, Variant, read, sizes

if TYPE_CHECKING:
    from lamina.schema.spec import ModelSpec

Format = Literal["table", "json", "mermaid", "html"]


def command(
    spec: Annotated[str, typer.Argument(help="A spec file, the name of one in the zoo, or a bundle, whose spec is shown.", metavar="SPEC")],
    variant: Variant = None,
    set_: Set = None,
    at: At = None,
    depth: Annotated[int | None, typer.Option(help="Sum up steps whose paths share this many parts: 1 shows stages.", min=1)] = None,
    format: Annotated[Format, typer.Option(help="How to show it.")] = "table",  # the option's name
    target: Annotated[Target | None, typer.Option(help="Show the operators that this target gets instead of the spec's ops.")] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Run the model, and show the lines of the spec with the time and memory that each takes.")
    ] = False,
) -> None:
    """Show every step of a model.

    Its path, output shape, parameters, multiply-adds, and the memory that its output takes; with --profile its lines, each with the time
    that it took in ONNX Runtime on this machine, and the bytes that it filled.
    """
    from lamina.compiler.elaborate import elaborate
    from lamina.compiler.summary import within
    from lamina.compiler.views import operators_view, steps_view

    bundle = Path(spec) if Path(spec).is_dir() else None
    found = read(spec if bundle is None else str(bundle / "spec.yaml"), variant, set_)
    if profile:
        if bundle and (variant or set_):
            raise typer.BadParameter("a bundle is profiled as it was compiled; give the spec instead", param_hint="--variant or --set")
        print(_profiled(found, bundle, at, depth, format, target))
        return
    model, chosen = elaborate(found), sizes(at)
    for problem in within(model.dims, chosen):
        raise typer.BadParameter(problem, param_hint="--at")
    view = operators_view(_title(found), model, target, depth) if target else steps_view(_title(found), model, chosen, depth)
    print(view.render(format))


def _title(spec: ModelSpec) -> str:
    return f"{spec.model} ({spec.variant})" if spec.variant else spec.model


def _profiled(spec: ModelSpec, bundle: Path | None, at: str | None, depth: int | None, format: Format, target: Target | None) -> str:
    """The profile of a bundle, or of one that is made for it."""
    from tempfile import TemporaryDirectory

    from lamina.cli._progress import progress
    from lamina.compiler.compile import compile
    from lamina.profile import profile
    from lamina.profile_view import ProfileView

    if format == "mermaid":
        raise typer.BadParameter("a profile is a table, json or html", param_hint="--format")
    if target in ("tensorrt", "torch"):
        raise typer.BadParameter(f"ONNX Runtime profiles, and it does not run the target {target}", param_hint="--target")
    with progress() as stage, TemporaryDirectory() as folder:
        made = bundle or compile(spec, Path(folder) / "bundle", [target or "onnxruntime"], progress=stage)
        found = profile(made, spec, sizes(at), target, stage)
    return ProfileView(_title(spec), found, spec.sources, str(spec.path), depth).render(format)
