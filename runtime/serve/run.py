"""A process that serves."""

from __future__ import annotations

import importlib
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from lamina.runtime.errors import BackendMissing
from lamina.runtime.serve.settings import Settings

try:
    import uvicorn

    from lamina.runtime.serve.app import application
    from lamina.runtime.serve.guard import Guard
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
    with bound(settings) as listening:
        log_as_json()
        run(application(given, settings, describe), settings, listening)


def bound(settings: Settings) -> socket.socket:
    """A socket at the settings' address. OSError: it is not free."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=2048)


def run(app: Guard, settings: Settings, listening: socket.socket) -> None:
    """Serve an application until SIGTERM or an interrupt; then answer what was accepted, and return."""
    _run(uvicorn.Server(_config(app, settings)), listening)


def _config(app: Guard, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
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


def _run(server: uvicorn.Server, listening: socket.socket) -> None:
    # uvicorn ends as it should, and then raises the signal again.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    address, port, *_ = listening.getsockname()
    logging.getLogger("lamina.serve").info("listening", extra={"address": address, "port": port})
    server.run(sockets=[listening])
    if not server.started:
        sys.exit(2)  # the log says why
