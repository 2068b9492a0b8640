"""A process that serves."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from lamina.runtime.errors import BackendMissing
from lamina.runtime.serve.settings import Settings

try:
    import uvicorn

    from lamina.runtime.serve.app import application
    from lamina.runtime.serve.logs import log_as_json
    from lamina.runtime.serve.protocol import BoundedProtocol
    from lamina.runtime.serve.server import Describe
except ImportError as error:
    raise BackendMissing(f"the server cannot be imported ({error}); pip install lamina[serve]") from error


def serve(given: Sequence[Path], settings: Settings, describe: Describe) -> None:
    """Serve the bundles in these folders until SIGTERM or an interrupt; then answer what was accepted, and return.

    BundleError, BackendMissing: with what is wrong with each bundle, before anything is answered. OSError: the address is not free.
    """
    if settings.grpc_port is not None:
        importlib.import_module("lamina.runtime.serve.grpc_server")  # before anything is opened
    log_as_json()
    app = application(given, settings, describe)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=settings.limits.connections,
        timeout_graceful_shutdown=int(settings.grace),
        lifespan="on",
    )
    # uvicorn ends as it should, and then raises the signal again.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        sys.exit(2)
