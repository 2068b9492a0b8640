"""Bodies of requests, read as far as they may go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final

from fastapi import Request
from starlette.requests import ClientDisconnect

from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.settings import Limits


@final
class Bodies:
    """All that a server holds at a time. For the event loop's thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._held = limits, 0

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, counted while it is held. Refused: 413, 408 where it does not come in time, 503 where others take the room."""
        held = 0
        try:
            chunks: list[bytes] = []
            try:
                async with asyncio.timeout(max(0.0, request.state.deadline - time.monotonic())):
                    self._check(_announced(request))
                    async for chunk in request.stream():
                        if chunk:
                            self._held += len(chunk)
                            held += len(chunk)
                            self._check(0, held)
                            chunks.append(chunk)
            except TimeoutError:
                raise Refused(408, f"only {held} bytes of the body came in time") from None
            except ClientDisconnect:
                raise Refused(499, "the client has left") from None
            yield chunks[0] if len(chunks) == 1 else b"".join(chunks)
        finally:
            self._held -= held

    def _check(self, coming: int, held: int = 0) -> None:
        if max(coming, held) > self._limits.body:
            raise Refused(413, f"the body has more than {self._limits.body} bytes, which is all that is read")
        if self._held + coming > self._limits.bodies:
            raise Refused(503, "the requests that are being answered take all the room for bodies", 1)


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else 0
