"""The application: its routes, its models, and what begins and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from lamina import __version__
from lamina.runtime.serve import page, routes_openai, routes_texts, routes_v2
from lamina.runtime.serve.bodies import Bodies
from lamina.runtime.serve.guard import Guard
from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.repository import Repository
from lamina.runtime.serve.server import Describe, Server
from lamina.runtime.serve.settings import Settings
from lamina.runtime.serve.tracing import telemetry


def _undrawn(folder: Path) -> None:
    """A runtime without the compiler draws nothing."""


def application(given: Sequence[Path], settings: Settings, describe: Describe = _undrawn) -> Guard:
    """An ASGI application that serves the bundles in these folders. BundleError, with what is wrong with each."""
    metrics = Metrics()
    repository = Repository(given, settings, metrics)
    repository.open()
    metrics.watch(repository)
    server = Server(settings, repository, metrics, Bodies(settings.limits), describe)
    app = FastAPI(title="Lamina", version=__version__, docs_url=None, redoc_url=None, lifespan=_lifespan(server), telemetry=telemetry())
    for routes in (routes_v2.routes, routes_openai.routes, routes_texts.routes, page.routes):
        app.include_router(routes(server))
    app.add_api_route("/metrics", lambda: Response(metrics.text(), media_type="text/plain; version=0.0.4"), include_in_schema=False)
    for kind in (Refused, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _refuse)
    return Guard(app, settings, metrics)


def _lifespan(server: Server) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.ensure_future(server.repository.watch()) if server.settings.poll else None
        remote = None
        if server.settings.grpc_port is not None:
            from lamina.runtime.serve.grpc_server import started

            remote = await started(server)
        yield
        if remote is not None:
            await remote.stop(server.settings.grace)
        if watch is not None:
            watch.cancel()
        await server.repository.close()

    return lifespan


async def _refuse(request: Request, error: Exception) -> Response:
    refused = _refused(request, error)
    more = dict(error.headers or {}) if isinstance(error, HTTPException) else {}  # which methods are allowed
    return Response(refused.body(request.url.path), refused.status, more | refused.headers)


def _refused(request: Request, error: Exception) -> Refused:
    match error:
        case Refused():
            return error
        case HTTPException():
            return Refused(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}")
        case RequestValidationError():
            problems = [f"`{'.'.join(map(str, one['loc'][1:]))[:200]}`: {one['msg'][:500]}" for one in error.errors()[:100]]
            return Refused(400, "\n".join(problems))
    return Refused(500, "the server failed; its log says why, beside the id of this request")  # which the guard logs
