"""lamina bench"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli._options import At, Backend, Bundle, Json, sizes


def command(
    bundle: Bundle,
    at: At = None,
    backend: Backend = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the backend.", min=1)] = None,
    repeats: Annotated[int | None, typer.Option(help="Timed calls.  [default: 30]", min=1)] = None,
    tokens: Annotated[int | None, typer.Option(help="Of a decoder: generate so many, and time prompt and steps.", min=1)] = None,
    prompt: Annotated[int | None, typer.Option(help="Tokens of the prompt before them.  [default: 128]", min=1)] = None,
    encoder: Annotated[Path | None, typer.Option(help="Of a decoder that attends to them: the bundle that reads the prompt.")] = None,
    url: Annotated[str | None, typer.Option(help="Time a server of the bundle instead, such as http://127.0.0.1:8000.")] = None,
    clients: Annotated[int | None, typer.Option(help="Clients that ask the server at a time.  [default: 1]", min=1, max=1000)] = None,
    json: Json = False,
) -> None:
    """Time a bundle on random inputs.

    The median, 10th and 90th percentile of a call in milliseconds, and items of the first input a second; of a decoder, with --tokens,
    the tokens a second of a prompt and of the steps after it. Both with the most memory that the process has held. With --url, of requests
    to a server; its token is in the variable LAMINA_TOKEN.
    """
    from contextlib import ExitStack
    from dataclasses import asdict

    from lamina.runtime import Session
    from lamina.runtime.bench import BenchResult, bench, bench_decoding

    if tokens is None and prompt is not None:
        raise typer.BadParameter("a prompt is timed with the tokens after it; give --tokens", param_hint="--prompt")
    if tokens is not None and (at is not None or repeats is not None):
        raise typer.BadParameter("a decoder is timed token by token, without --at and --repeats", param_hint="--tokens")
    if tokens is None and encoder is not None:
        raise typer.BadParameter("an encoder reads the prompt of a decoder; give --tokens", param_hint="--encoder")
    if url is not None:
        if tokens is not None or encoder is not None or threads is not None:
            raise typer.BadParameter("a server has its own settings, without --tokens, --encoder and --threads", param_hint="--url")
        _load(url, bundle, sizes(at), clients or 1, repeats or 30, json)
        return
    if clients is not None:
        raise typer.BadParameter("clients ask a server; give --url", param_hint="--clients")
    with ExitStack() as opened:
        session = opened.enter_context(Session(bundle, backend=backend, threads=threads))
        source = None if encoder is None else opened.enter_context(Session(encoder, backend=backend, threads=threads))
        decoded = None if tokens is None else bench_decoding(session, prompt or 128, tokens, encoder=source)
        result = decoded or bench(session, sizes(at), repeats=repeats or 30)
    if json:
        from json import dumps

        print(dumps(asdict(result)))
        return
    if decoded is not None:
        speeds = f"prompt of {decoded.prompt} at {decoded.prefill:.0f} tokens/s, {tokens} more at {decoded.decode:.1f} tokens/s"
        print(f"{decoded.target}: {speeds}, {decoded.peak_mb:.0f} MB at most")
        return
    assert isinstance(result, BenchResult)
    where = ", ".join(f"{k}={v}" for k, v in result.dims.items())
    spread = f"10% {result.p10_ms:.2f}, 90% {result.p90_ms:.2f}"
    figures = f"median {result.median_ms:.2f} ms ({spread}), {result.throughput:.1f}/s, {result.peak_mb:.0f} MB at most"
    print(f"{result.target} at {where or 'fixed sizes'}: {figures}")


def _load(url: str, bundle: Path, at: dict[str, int], clients: int, repeats: int, as_json: bool) -> None:
    from dataclasses import asdict
    from json import dumps
    from os import environ

    from lamina.runtime.load import load

    found = load(url, bundle, at, clients, repeats, environ.get("LAMINA_TOKEN"))
    spread = f"10% {found.p10_ms:.2f}, 90% {found.p90_ms:.2f}, 99% {found.p99_ms:.2f}"
    figures = f"median {found.median_ms:.2f} ms ({spread}), {found.throughput:.1f} requests/s of {clients} clients"
    print(dumps(asdict(found)) if as_json else f"{url}: {figures}, {found.refused} of {found.requests} refused")
