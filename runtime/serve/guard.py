"""What every request goes through, before and after its route: who asks, how much, under which id, and what became of it."""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, final

from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_OPEN = ("/", "/v2/health/live", "/v2/health/ready")  # what shows nothing of a model
_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?", re.IGNORECASE)
_LOG = logging.getLogger("lamina.serve")


@final
class Guard:
    """An ASGI application around another. `scope["state"]` gets `id` and `deadline`, of `time.monotonic`; routes may add `log`."""

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, scope)
        self._metrics.began()
        try:
            scope.setdefault("state", {})["id"] = answer.id
            self._admit(scope)
            await self._app(scope, receive, answer.send)
        except Refused as refused:
            await answer.refuse(refused)
        except Exception:
            _LOG.exception("a request failed", extra={"request_id": answer.id})
            await answer.refuse(Refused(500, f"the server failed; its log has more of request {answer.id}"))
        finally:
            self._end(scope, answer)

    def _admit(self, scope: Scope) -> None:
        """Refused: 400, 401, 403, 421 and 503."""
        if (most := scope.get("state", {}).get("crowded")) is not None:
            raise Refused(503, f"more than {most} connections are open", 1, close=True)
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self._settings.local and self._settings.token is None:
            if _HOST.fullmatch(host) is None:  # a page of another site whose name leads to this machine could read the answers
                raise Refused(421, f"this server answers to localhost alone, and was asked as {host[:200]!r}")
            if scope["method"] not in ("GET", "HEAD") and headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
                raise Refused(403, "a page of another site asks this")
        given = headers.get(b"authorization", b"")
        token = self._settings.token
        if token is not None and scope["path"] not in _OPEN and not hmac.compare_digest(given, b"Bearer " + token.encode()):
            raise Refused(401, "say who you are: Authorization: Bearer TOKEN")
        scope["state"]["deadline"] = time.monotonic() + self._seconds(headers.get(b"x-request-timeout"))

    def _seconds(self, given: bytes | None) -> float:
        most = self._settings.limits.seconds
        if given is None:
            return most
        if re.fullmatch(rb"\d{1,6}(\.\d{1,6})?", given) is None or float(given) <= 0:
            raise Refused(400, f"X-Request-Timeout is {given[:40]!r}, and must be seconds: a number above 0")
        return min(most, float(given))

    def _end(self, scope: Scope, answer: _Answer) -> None:
        seconds = time.monotonic() - answer.began
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.ended(route, answer.status, seconds)
        extra = {
            "request_id": answer.id, "method": scope["method"], "path": scope["path"][:500], "status": answer.status,
            "ms": round(seconds * 1000, 3), **scope.get("state", {}).get("log", {}),
        }  # fmt: skip
        _LOG.info("answered", extra=extra)


@final
class _Answer:
    """What is sent of one answer. 499 is the status of one that nobody waited for."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send, self.status, self.began = send, 499, time.monotonic()
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self.id = given.decode() if _ID.fullmatch(given) else uuid.uuid4().hex
        self._path = str(scope["path"])

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.id.encode()), (b"x-content-type-options", b"nosniff")]
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status != 499:
            return
        body = refused.body(self._path)
        said = {**refused.headers, "content-length": str(len(body))}
        headers = [(name.encode(), value.encode()) for name, value in said.items()]
        await self.send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
