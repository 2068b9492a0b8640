"""lamina serve"""

from __future__ import annotations

from typing import Annotated

import typer

from lamina.cli import _serving as on
from lamina.cli._options import Backend


def command(
    bundles: on.Bundles,
    host: on.Host = "127.0.0.1",
    port: on.Port = 8000,
    grpc_port: Annotated[int | None, typer.Option(help="Serve gRPC too, on this port.", min=1, max=65535)] = None,
    token_file: on.TokenFile = None,
    open: on.Open = False,
    tls_cert: on.TlsCert = None,
    tls_key: on.TlsKey = None,
    backend: Backend = "auto",
    threads: on.Threads = None,
    workers: on.Workers = 1,
    batch: on.Batch = 32,
    queue: Annotated[int, typer.Option(help="The most requests that wait for one model.", min=1)] = 64,
    timeout: on.Timeout = 30.0,
    max_body: on.MaxBody = 64,
    max_cache: on.MaxCache = 4096,
    poll: on.Poll = 2.0,
    grace: on.Grace = 30.0,
) -> None:
    """Serve bundles over HTTP: the Open Inference Protocol, embeddings, completions and chat, metrics, and a page at /.

    A bundle that is compiled anew is served anew, without a request lost.
    """
    from lamina.runtime.serve.settings import Settings

    settings = Settings(
        host=host, port=port, grpc_port=grpc_port, token=on.token(token_file), certificate=tls_cert, key=tls_key, backend=backend,
        threads=threads, workers=workers, poll=poll, grace=grace, limits=on.limits(max_body, max_cache, batch, queue, timeout),
    )  # fmt: skip
    on.check(settings, open)
    from lamina.runtime.serve.run import serve

    serve(bundles, settings, on.drawn)
