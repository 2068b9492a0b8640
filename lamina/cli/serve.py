"""lamina serve"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lamina.cli._options import Backend

TOKEN = "LAMINA_TOKEN"
_MIB = 2**20


def command(
    bundles: Annotated[
        list[Path], typer.Argument(help="Bundles, or folders of them: DIR/MODEL or DIR/MODEL/VERSION.", metavar="DIR|BUNDLE...")
    ],
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine's need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port.", min=1, max=65535)] = 8000,
    grpc_port: Annotated[int | None, typer.Option(help="Serve gRPC too, on this port.", min=1, max=65535)] = None,
    token_file: Annotated[
        Path | None, typer.Option(help=f"A file with the token that clients must say; else the variable {TOKEN}, if it is set.")
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Let all who reach the host ask, without a token.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="A certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    backend: Backend = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of one call.", min=1)] = None,
    workers: Annotated[int, typer.Option(help="Calls of one model at a time.", min=1, max=256)] = 1,
    batch: Annotated[int, typer.Option(help="The most rows that requests are joined to; 1 joins none.", min=1)] = 32,
    queue: Annotated[int, typer.Option(help="The most requests that wait for one model.", min=1)] = 64,
    timeout: Annotated[float, typer.Option(help="The most seconds until an answer.", min=0.001)] = 30.0,
    max_body: Annotated[int, typer.Option(help="The most MiB of a request.", min=1)] = 64,
    max_cache: Annotated[int, typer.Option(help="The most MiB of what the texts that a model writes at a time remember.", min=1)] = 4096,
    poll: Annotated[float, typer.Option(help="Seconds between two looks for new bundles; 0 looks once.", min=0)] = 2.0,
    grace: Annotated[float, typer.Option(help="The most seconds that answers may take after SIGTERM.", min=0)] = 30.0,
) -> None:
    """Serve bundles over HTTP: the Open Inference Protocol, embeddings, completions and chat, metrics, and a page at /.

    A bundle that is compiled anew is served anew, without a request lost.
    """
    from lamina.runtime.serve.settings import Limits, Settings

    token = _token(token_file)
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("a certificate and its key go together", param_hint="--tls-cert and --tls-key")
    limits = Limits(
        body=max_body * _MIB, bodies=max(16 * max_body * _MIB, _MIB), cache=max_cache * _MIB, batch=batch, queue=queue, seconds=timeout
    )
    settings = Settings(
        host=host, port=port, grpc_port=grpc_port, token=token, certificate=tls_cert, key=tls_key, backend=backend, threads=threads,
        workers=workers, poll=poll, grace=grace, limits=limits,
    )  # fmt: skip
    if not (settings.local or token or open):
        raise typer.BadParameter(f"all who reach {host} could ask: set {TOKEN}, give --token-file, or say --open", param_hint="--host")
    from lamina.runtime.serve.run import serve

    serve(bundles, settings, _drawn)


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN) or None
    token = file.read_text(encoding="utf-8").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise typer.BadParameter(f"{file} holds no token: one line of printable ASCII", param_hint="--token-file")
    return token


def _drawn(folder: Path) -> str | None:
    """The model of a bundle as a Mermaid flowchart of its stages; None where its spec is no longer read."""
    from lamina.compiler.diagram import diagram
    from lamina.compiler.elaborate import elaborate
    from lamina.compiler.load import load_spec
    from lamina.schema.diagnostics import SpecError

    try:
        return diagram(elaborate(load_spec(folder / "spec.yaml")).graph, depth=2)
    except (SpecError, OSError):
        return None
