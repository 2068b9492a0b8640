"""lamina run"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli._options import Adapter, Backend, Bundle
from lamina.cli._options import adapter as chosen


def command(
    bundle: Bundle,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            help="NAME=VALUE: a .npy, .npz, .json or image file, or a literal such as [1, 2] (repeatable).",
            metavar="NAME=VALUE",
        ),
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", "-t", help="Text for a bundle that carries a tokenizer (repeatable).")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the outputs: .npz, .npy or .json. Without it they are printed as JSON.")
    ] = None,
    adapter: Adapter = None,
    backend: Backend = "auto",
) -> None:
    """Run a bundle on files, literals or text."""
    import json

    from lamina.runtime import Session
    from lamina.runtime.run import run, save_outputs

    given: dict[str, list[str]] = {}
    for item in input or []:
        name, equals, value = item.partition("=")
        if not equals:
            raise typer.BadParameter(f"`{item}` is not NAME=VALUE", param_hint="--input")
        given.setdefault(name, []).append(value)
    if text:
        given["text"] = text
    with Session(bundle, backend=backend) as session:
        session.set_adapter(chosen(adapter or []))
        outputs = run(session, {k: v[0] if len(v) == 1 else v for k, v in given.items()})
    if output is not None:
        save_outputs(outputs, output)
        return
    print(
        json.dumps(
            {name: array.astype("float64").tolist() if array.dtype.kind not in "iub" else array.tolist() for name, array in outputs.items()}
        )
    )
