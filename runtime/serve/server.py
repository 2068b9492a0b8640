"""What the routes of one server share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

from fastapi import Request

from lamina.runtime.serve.bodies import Bodies
from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.repository import Repository
from lamina.runtime.serve.settings import Settings

T = TypeVar("T")
Describe = Callable[[Path], str | None]


@final
@dataclass(frozen=True, slots=True)
class Server:
    """`describe` draws the bundle in a folder, as a Mermaid flowchart, where it can."""

    settings: Settings
    repository: Repository
    metrics: Metrics
    bodies: Bodies
    describe: Describe


def log(request: Request, **values: object) -> None:
    """Let the line that is logged of this request say this too."""
    request.scope["state"].setdefault("log", {}).update(values)


async def answered(request: Request, future: asyncio.Future[T]) -> T:
    """The result, if it comes in time and while the client waits; else it is cancelled. Refused: 504, 499, and what the future has."""
    gone = asyncio.ensure_future(left(request))
    try:
        either: set[asyncio.Future[Any]] = {future, gone}
        await asyncio.wait(either, timeout=remaining(request), return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        future.cancel()
        if gone.done():
            raise Refused(499, "the client has left")
        raise Refused(504, "the answer did not come in time")
    finally:
        gone.cancel()


async def collected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """As `answered`, of a coroutine, which has ended when this does."""
    task = asyncio.ensure_future(work)
    try:
        return await answered(request, task)
    finally:
        await asyncio.wait({task})


async def left(request: Request) -> None:
    """Return when the client has left. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def remaining(request: Request) -> float:
    """The seconds until the answer must be there."""
    return max(0.0, float(request.state.deadline) - time.monotonic())
