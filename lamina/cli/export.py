"""lamina export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli._progress import progress


def command(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder that holds the target onnx.", metavar="BUNDLE")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write; an older export there is replaced.")],
    web: Annotated[bool, typer.Option("--web", help="A static folder that runs the bundle in a browser, from any file server.")] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(help="A folder where npm installed onnxruntime-web and @huggingface/tokenizers; fetched by npm unless given."),
    ] = None,
) -> None:
    """Write a bundle in the form that something else runs.

    With --web a page, for a browser.
    """
    from lamina.export.web import export_web

    if not web:
        raise typer.BadParameter("say for what: --web", param_hint="--web")
    with progress() as stage:
        stage("export")
        export_web(bundle, out, runtime)
    files = [p for p in out.rglob("*") if p.is_file()]
    print(f"{out}: {sum(f.stat().st_size for f in files) / 1e6:.1f} MB in {len(files)} files")
