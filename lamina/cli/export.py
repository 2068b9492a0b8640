"""lamina export"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from lamina.cli._progress import progress


def command(
    bundle: Annotated[list[str], typer.Argument(help="A bundle folder; for Triton several, or NAME=FOLDER.", metavar="BUNDLE...")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write; an older export there is replaced.")],
    web: Annotated[bool, typer.Option("--web", help="A static folder that runs a bundle in a browser, from any file server.")] = False,
    triton: Annotated[bool, typer.Option("--triton", help="A model repository of Triton, with a folder for each bundle.")] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(help="For --web: where npm installed onnxruntime-web and @huggingface/tokenizers; fetched by npm unless given."),
    ] = None,
    target: Annotated[
        Literal["onnxruntime", "onnx", "tensorrt"] | None,
        typer.Option(help="For --triton: what it runs.  [default: the first that it can]"),
    ] = None,
) -> None:
    """Write bundles in the form that something else runs.

    With --web a page, for a browser; with --triton a model repository, for NVIDIA's server.
    """
    if web == triton:
        raise typer.BadParameter("say for what: either --web or --triton", param_hint="--web or --triton")
    if (web and target is not None) or (triton and runtime is not None):
        raise typer.BadParameter("--runtime is of --web, and --target of --triton", param_hint="--runtime or --target")
    with progress() as stage:
        stage("export")
        folders = _repository(bundle, out, target) if triton else [_page(bundle, out, runtime)]
    for folder in folders:
        files = [p for p in folder.rglob("*") if p.is_file()]
        print(f"{folder}: {sum(f.stat().st_size for f in files) / 1e6:.1f} MB in {len(files)} files")


def _page(bundles: Sequence[str], out: Path, runtime: Path | None) -> Path:
    from lamina.export.web import export_web

    if len(bundles) != 1:
        raise typer.BadParameter("a page is of one bundle", param_hint="BUNDLE")
    return export_web(bundles[0], out, runtime)


def _repository(bundles: Sequence[str], out: Path, target: Literal["onnxruntime", "onnx", "tensorrt"] | None) -> list[Path]:
    from lamina.export.triton import export_triton
    from lamina.runtime.manifest import read_manifest

    found: dict[str, Path] = {}
    for text in bundles:
        given, named, place = text.partition("=")
        path = Path(place if named else text)
        name = given if named else read_manifest(path).model
        if name in found:
            raise typer.BadParameter(f"two bundles are named `{name}`; write NAME=FOLDER", param_hint="BUNDLE")
        found[name] = path
    return export_triton(found, out, target)
