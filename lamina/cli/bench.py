"""lamina bench"""

from __future__ import annotations

from typing import Annotated

import typer

from lamina.cli._options import At, Backend, Bundle, Json, sizes


def command(
    bundle: Bundle,
    at: At = None,
    backend: Backend = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the backend.", min=1)] = None,
    repeats: Annotated[int, typer.Option(help="Timed calls.", min=1)] = 30,
    json: Json = False,
) -> None:
    """Time a bundle on random inputs.

    The median, 10th and 90th percentile of a call in milliseconds, and items of the first input a second.
    """
    from dataclasses import asdict

    from lamina.runtime import Session
    from lamina.runtime.bench import bench

    with Session(bundle, backend=backend, threads=threads) as session:
        result = bench(session, sizes(at), repeats=repeats)
    if json:
        import json as encoder

        print(encoder.dumps(asdict(result)))
        return
    where = ", ".join(f"{k}={v}" for k, v in result.dims.items())
    spread = f"10% {result.p10_ms:.2f}, 90% {result.p90_ms:.2f}"
    print(f"{result.target} at {where or 'fixed sizes'}: median {result.median_ms:.2f} ms ({spread}), {result.throughput:.1f}/s")
