"""lamina run"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamina.cli._options import Adapter, Address, Backend, Bundle, Cpus, Gpus, share
from lamina.cli._options import adapter as chosen

if TYPE_CHECKING:
    from lamina.runtime.session import BackendName


def command(
    bundle: Bundle,
    dataset: Annotated[
        Path | None,
        typer.Argument(
            help="For --ray: a .parquet, .jsonl or .csv file with a column for each input, a .txt of a text a line, or a folder of such "
            "files or of images.",
            metavar="[DATASET]",
        ),
    ] = None,
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
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the outputs: .npz, .npy or .json, of a dataset .parquet. Without it they are printed as JSON."
        ),
    ] = None,
    adapter: Adapter = None,
    backend: Backend = "auto",
    ray: Annotated[bool, typer.Option("--ray", help="Run a dataset on a Ray cluster, by Ray Data.")] = False,
    address: Address = None,
    sessions: Annotated[int | None, typer.Option(help="For --ray: the most sessions at a time.  [default: 4]", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="For --ray: the most rows of a call.  [default: 32]", min=1)] = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
) -> None:
    """Run a bundle on files, literals or text; with --ray on a dataset, by sessions on a cluster."""
    if ray:
        if input or text or dataset is None or output is None:
            raise typer.BadParameter("give a DATASET and --output, without --input and --text", param_hint="--ray")
        _run_dataset(bundle, dataset, output, adapter or [], backend, address, sessions or 4, batch or 32, cpus, gpus)
        return
    given = {"DATASET": dataset, "--address": address, "--sessions": sessions, "--batch": batch, "--cpus": cpus, "--gpus": gpus}
    if unused := [name for name, value in given.items() if value is not None]:
        raise typer.BadParameter("it is of a run on a cluster; add --ray", param_hint=", ".join(unused))
    _run(bundle, input or [], text, output, adapter, backend)


def _run(
    bundle: Path, input: list[str], text: list[str] | None, output: Path | None, adapter: list[str] | None, backend: BackendName
) -> None:
    import json

    from lamina.runtime import Session
    from lamina.runtime.run import run, save_outputs

    given: dict[str, list[str]] = {}
    for item in input:
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


def _run_dataset(
    bundle: Path, dataset: Path, output: Path, adapters: list[str], backend: BackendName, address: str | None, sessions: int, batch: int,
    cpus: float | None, gpus: float | None,
) -> None:  # fmt: skip
    adapter = chosen(adapters)
    if isinstance(adapter, dict):
        raise typer.BadParameter("a dataset is run with one adapter, without a weight", param_hint="--adapter")
    from lamina.runtime.ray.infer import infer
    from lamina.runtime.ray.model import Use

    taken = share(cpus, gpus)
    use = Use(backend=backend, adapter=adapter, threads=taken.threads, batch=batch)
    rows = infer(bundle, dataset, output, use, address=address, sessions=sessions, share=taken)
    print(f"{output}: {rows} rows")
