"""What the commands that serve have in common: how to listen, whom to answer, and how much."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lamina.runtime.serve.settings import Limits, Settings

TOKEN = "LAMINA_TOKEN"
_MIB = 2**20

Bundles = Annotated[
    list[Path], typer.Argument(help="Bundles, or folders of them: DIR/MODEL or DIR/MODEL/VERSION.", metavar="DIR|BUNDLE...")
]
Host = Annotated[str, typer.Option(help="The address to listen on; others than this machine's need a token.")]
Port = Annotated[int, typer.Option(help="The port.", min=1, max=65535)]
TokenFile = Annotated[
    Path | None, typer.Option(help=f"A file with the token that clients must say; else the variable {TOKEN}, if it is set.")
]
Open = Annotated[bool, typer.Option("--open", help="Let all who reach the host ask, without a token.")]
TlsCert = Annotated[Path | None, typer.Option(help="A certificate, PEM.")]
TlsKey = Annotated[Path | None, typer.Option(help="Its key, PEM.")]
Threads = Annotated[int | None, typer.Option(help="Threads of one call.", min=1)]
Workers = Annotated[int, typer.Option(help="Calls of one model at a time.", min=1, max=256)]
Batch = Annotated[int, typer.Option(help="The most rows that requests are joined to; 1 joins none.", min=1)]
Timeout = Annotated[float, typer.Option(help="The most seconds until an answer.", min=0.001)]
MaxBody = Annotated[int, typer.Option(help="The most MiB of a request.", min=1)]
MaxCache = Annotated[int, typer.Option(help="The most MiB of what the texts that a model writes at a time remember.", min=1)]
Poll = Annotated[float, typer.Option(help="Seconds between two looks for new bundles; 0 looks once.", min=0)]
Grace = Annotated[float, typer.Option(help="The most seconds that answers may take after SIGTERM.", min=0)]


def limits(max_body: int, max_cache: int, batch: int, queue: int, timeout: float) -> Limits:
    """The bounds that options give; the others are as they are."""
    from lamina.runtime.serve.settings import Limits

    bodies = max(16 * max_body * _MIB, _MIB)
    return Limits(body=max_body * _MIB, bodies=bodies, cache=max_cache * _MIB, batch=batch, queue=queue, seconds=timeout)


def check(settings: Settings, open: bool) -> None:
    """Refuse half a certificate, and a host that strangers could ask. Raises a usage error."""
    if (settings.certificate is None) != (settings.key is None):
        raise typer.BadParameter("a certificate and its key go together", param_hint="--tls-cert and --tls-key")
    if not (settings.local or settings.token or open):
        problem = f"all who reach {settings.host} could ask: set {TOKEN}, give --token-file, or say --open"
        raise typer.BadParameter(problem, param_hint="--host")


def token(file: Path | None) -> str | None:
    """The token in a file, else that in the environment. Raises a usage error for a file that holds none."""
    if file is None:
        return os.environ.get(TOKEN) or None
    found = file.read_text(encoding="utf-8").strip()
    if not found or not found.isascii() or not found.isprintable():
        raise typer.BadParameter(f"{file} holds no token: one line of printable ASCII", param_hint="--token-file")
    return found


def drawn(folder: Path) -> str | None:
    """The model of a bundle as a Mermaid flowchart of its stages; None where its spec is no longer read."""
    from lamina.compiler.diagram import diagram
    from lamina.compiler.elaborate import elaborate
    from lamina.compiler.load import load_spec
    from lamina.schema.diagnostics import SpecError

    try:
        return diagram(elaborate(load_spec(folder / "spec.yaml")).graph, depth=2)
    except (SpecError, OSError):
        return None
