"""The server that clients see: it reads requests, and has replicas answer them."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, final

from fastapi import Request, Response
from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from starlette.routing import Route, Router

from lamina.runtime.ray.asgi import Asked, Part
from lamina.runtime.serve.bodies import Bodies
from lamina.runtime.serve.guard import Guard, Receive, Scope, Send
from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.server import collected, remaining
from lamina.runtime.serve.settings import Settings

_LOST = (RayActorError, NodeDiedError, ObjectLostError, WorkerCrashedError, ReplicaUnavailableError)
_TRIES = 8  # of one request: it may be what ends the replicas
_LEEWAY = 2.0  # seconds behind a request's deadline in which a replica may say that it has passed
_LONGEST = 999_999.0  # seconds that the header may say
_OURS = (b"x-request-id", b"x-content-type-options")
_LOG = logging.getLogger("lamina.serve")


def front(handle: Any, settings: Settings) -> Guard:
    """An ASGI application whose requests go through `handle`, a streaming one of `Replica.answer`."""
    metrics = Metrics()

    async def counted(request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    router = Router([Route("/metrics", counted)], redirect_slashes=False, default=_Forward(handle, settings))
    return Guard(router, settings, metrics)


@final
class _Forward:
    """An ASGI application. Every request may be asked again: none changes anything but what it is answered."""

    def __init__(self, handle: Any, settings: Settings) -> None:
        self._handle, self._bodies = handle, Bodies(settings.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        async with self._bodies.of(request) as body:
            deadline = scope["state"]["deadline"]
            scope["state"]["deadline"] = deadline + _LEEWAY
            await collected(request, self._answer(request, body, send))

    async def _answer(self, request: Request, body: bytes, send: Send) -> None:
        """Have it answered, by another replica where one is lost before it began to answer. Refused: 503."""
        for attempt in range(_TRIES):
            await asyncio.sleep(0.05 * attempt)
            parts = self._handle.remote(_asked(request, body))
            begun = False
            try:
                async for part in parts:
                    await _send(part, request.scope, send)
                    begun = True
                return
            except _LOST as error:
                if begun:
                    raise
                _LOG.warning("a replica was lost, another is asked: %s", type(error).__name__, extra={"request_id": request.state.id})
            except (BackPressureError, DeploymentUnavailableError) as error:
                raise Refused(503, "as many requests wait for a replica as may", 1) from error
            finally:
                parts.cancel()
        raise Refused(503, f"{_TRIES} replicas were lost while they had this request", 1)


def _asked(request: Request, body: bytes) -> Asked:
    """The request for a replica, under the same id, and with what is left of its time."""
    seconds = min(max(0.001, remaining(request) - _LEEWAY), _LONGEST)
    own = [(b"x-request-id", request.state.id.encode()), (b"x-request-timeout", f"{seconds:.6f}".encode())]
    headers = [(name, value) for name, value in request.scope["headers"] if name not in {name for name, _ in own}]
    return Asked(request.method, request.scope["path"], request.scope["query_string"], headers + own, body)


async def _send(part: Part, scope: Scope, send: Send) -> None:
    if part.head is not None:
        scope["route"] = SimpleNamespace(path=part.head.route)
        headers = [(name, value) for name, value in part.head.headers if name not in _OURS]  # which the guard adds here, too
        await send({"type": "http.response.start", "status": part.head.status, "headers": headers})
    await send({"type": "http.response.body", "body": part.body, "more_body": part.more})
