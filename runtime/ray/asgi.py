"""A request and its answer as values, which go from one machine to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, final

from lamina.runtime.serve.guard import App, Message

Headers = list[tuple[bytes, bytes]]


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """A request over HTTP, with its whole body."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes


@final
@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins. `route` is the path of its route, as the metrics count it."""

    status: int
    headers: Headers
    route: str


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Some of an answer; most have one. The first has the head, the last no `more`."""

    head: Head | None
    body: bytes
    more: bool


async def answered(app: App, asked: Asked) -> AsyncIterator[Part]:
    """What an ASGI application answers. To it, a client leaves when this is closed."""
    scope = _scope(asked)
    messages: asyncio.Queue[Message | None] = asyncio.Queue()
    left = asyncio.Event()
    bodies = iter([{"type": "http.request", "body": asked.body, "more_body": False}])

    async def receive() -> Message:
        for body in bodies:
            return body
        await left.wait()
        return {"type": "http.disconnect"}

    answering = asyncio.ensure_future(app(scope, receive, messages.put))
    answering.add_done_callback(lambda _: messages.put_nowait(None))
    head = None
    try:
        while (message := await messages.get()) is not None:
            if message["type"] == "http.response.start":
                head = Head(message["status"], list(message.get("headers", ())), _route(scope))
                continue
            yield Part(head, message.get("body", b""), message.get("more_body", False))
            head = None
    finally:
        left.set()
        await asyncio.wait({answering})


def _scope(asked: Asked) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": asked.method, "path": asked.path,
        "raw_path": asked.path.encode(), "root_path": "", "query_string": asked.query, "headers": asked.headers,
        "client": None, "server": None,
    }  # fmt: skip


def _route(scope: dict[str, Any]) -> str:
    return str(getattr(scope.get("route"), "path", "none"))


async def live(app: App, end: asyncio.Event) -> None:
    """Begin an ASGI application, and when the event is set let it end."""
    said = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        what = next(said)
        if what == "lifespan.shutdown":
            await end.wait()
        return {"type": what}

    async def send(message: Message) -> None:
        if message["type"].endswith(".failed"):
            raise RuntimeError(message.get("message", ""))

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
