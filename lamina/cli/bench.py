"""lamina bench"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from lamina.cli._options import At, BackendName, Json, sizes

if TYPE_CHECKING:
    from lamina.runtime.race import Race

_MARGIN = 5.0  # percent


def command(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundle folders, as `lamina compile` writes them.", metavar="BUNDLE...", show_default=False)
    ] = None,
    at: At = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="auto, onnxruntime, onnx, tensorrt or torch (repeatable, to compare several).  [default: auto]"),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the backend.", min=1)] = None,
    repeats: Annotated[int | None, typer.Option(help="Timed calls, or rounds of several.  [default: 30]", min=1)] = None,
    tokens: Annotated[int | None, typer.Option(help="Of a decoder: generate so many, and time prompt and steps.", min=1)] = None,
    prompt: Annotated[int | None, typer.Option(help="Tokens of the prompt before them.  [default: 128]", min=1)] = None,
    encoder: Annotated[Path | None, typer.Option(help="Of a decoder that attends to them: the bundle that reads the prompt.")] = None,
    url: Annotated[str | None, typer.Option(help="Time a server of the bundle instead, such as http://127.0.0.1:8000.")] = None,
    clients: Annotated[int | None, typer.Option(help="Clients that ask the server at a time.  [default: 1]", min=1, max=1000)] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the figures, and what machine they are of, to a file.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Instead: what is slower or faster by more than 5% between two files that --out wrote. Ends with 1 where slower.",
            metavar="OLD NEW",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Time bundles on random inputs.

    The median, 10th and 90th percentile of a call in milliseconds, and items of the first input a second; of a decoder, with --tokens,
    the tokens a second of a prompt and of the steps after it. Both with the most memory that the process has held. With --url, of requests
    to a server; its token is in the variable LAMINA_TOKEN. Several bundles or backends take turns, each in a process of its own, and
    their ratios to the first say how many times as fast they are.
    """
    from itertools import product

    if compare is not None:
        if bundles:
            raise typer.BadParameter("it reads two files, and times nothing; leave the bundles out", param_hint="--compare")
        _compare(*compare)
        return
    for name in backend or ():
        if name not in get_args(BackendName):
            known = ", ".join(get_args(BackendName))
            raise typer.BadParameter(f"`{name}` is not a backend; they are {known}", param_hint="--backend")
    pairs = list(product(bundles or (), cast("list[BackendName]", backend or ["auto"])))
    if not pairs:
        raise typer.BadParameter("give a bundle, or several", param_hint="BUNDLE...")
    if len(pairs) == 1 and out is None:
        _one(*pairs[0], at, threads, repeats, tokens, prompt, encoder, url, clients, json)
        return
    if any(option is not None for option in (url, tokens, prompt, encoder, clients)):
        raise typer.BadParameter("decoders and servers are timed one at a time, without --out", param_hint="BUNDLE...")
    if out is not None and not out.absolute().parent.is_dir():
        raise typer.BadParameter(f"{out.parent} is not a folder to write to", param_hint="--out")
    from lamina.cli._progress import progress
    from lamina.runtime.race import Contender, race

    with progress() as stage:
        found = race([Contender(*pair) for pair in pairs], sizes(at), repeats or 30, threads, stage)
    if out is not None:
        out.write_text(found.dump(), encoding="utf-8")
    print(found.dump() if json else _table(found))


def _compare(old: Path, new: Path) -> None:
    """Print the changes. Ends with 1 where something is slower, or gone."""
    from lamina.runtime.compare import changes
    from lamina.runtime.race import speeds

    before, after = speeds(old), speeds(new)
    found = changes(before, after, _MARGIN)
    for change in found:
        print(f"{change.key}: {change.before:.2f} to {change.after:.2f}, {change.percent:+.0f}%")
    gone = [name for name in before if name not in after]
    for name in gone:
        print(f"{name}: not in {new}")
    if not found and not gone:
        print(f"nothing changed by more than {_MARGIN:.0f}%")
    if gone or any(change.percent < 0 for change in found):
        raise typer.Exit(1)


def _table(found: Race) -> str:
    """A line for each contender."""
    head = ("", "median, ms (10% to 90%)", "ratio (10% to 90%)", "calls/s", "load, ms", "peak, MB", "files, MB")
    rows = [
        (
            one.name,
            f"{one.median_ms:.2f} ({one.p10_ms:.2f} to {one.p90_ms:.2f})",
            f"{one.ratio:.2f}x ({one.ratio_p10:.2f} to {one.ratio_p90:.2f})",
            f"{one.throughput:.1f}",
            f"{one.load_ms:.0f}",
            f"{one.peak_mb:.0f}",
            f"{one.size_mb:.1f}",
        )
        for one in found.contenders
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows))


def _one(
    bundle: Path,
    backend: BackendName,
    at: str | None,
    threads: int | None,
    repeats: int | None,
    tokens: int | None,
    prompt: int | None,
    encoder: Path | None,
    url: str | None,
    clients: int | None,
    json: bool,
) -> None:
    """One bundle in this process, or a server of it."""
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
