"""lamina serve"""

from __future__ import annotations

from typing import Annotated

import typer

from lamina.cli._options import Backend
from lamina.cli._serving import (
    Batch, Bundles, Grace, Host, MaxBody, Open, Poll, Port, Threads, Timeout, TlsCert, TlsKey, TokenFile, Workers, check, drawn, limits, token,
)  # fmt: skip


def command(
    bundles: Bundles,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    grpc_port: Annotated[int | None, typer.Option(help="Serve gRPC too, on this port.", min=1, max=65535)] = None,
    token_file: TokenFile = None,
    open: Open = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    backend: Backend = "auto",
    threads: Threads = None,
    workers: Workers = 1,
    batch: Batch = 32,
    queue: Annotated[int, typer.Option(help="The most requests that wait for one model.", min=1)] = 64,
    timeout: Timeout = 30.0,
    max_body: MaxBody = 64,
    poll: Poll = 2.0,
    grace: Grace = 30.0,
) -> None:
    """Serve bundles over HTTP: the Open Inference Protocol, embeddings and completions, metrics, and a page at /.

    A bundle that is compiled anew is served anew, without a request lost.
    """
    from lamina.runtime.serve.settings import Settings

    settings = Settings(
        host=host, port=port, grpc_port=grpc_port, token=token(token_file), certificate=tls_cert, key=tls_key, backend=backend,
        threads=threads, workers=workers, poll=poll, grace=grace, limits=limits(max_body, batch, queue, timeout),
    )  # fmt: skip
    check(settings, open)
    from lamina.runtime.serve.run import serve

    serve(bundles, settings, drawn)
