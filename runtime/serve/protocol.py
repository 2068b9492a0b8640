"""HTTP as uvicorn reads it, with bounds on the time and the bytes until a request's headers are there, and on how many connections."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, ClassVar, final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


@final
class BoundedProtocol(HttpToolsProtocol):
    """A connection that sends its headers slowly, endlessly or not at all is closed.

    Where there are more connections than uvicorn's `limit_concurrency`, `scope["state"]["crowded"]` is that limit: the guard refuses.
    """

    seconds: ClassVar[float] = 10.0
    most: ClassVar[int] = 64 * 1024
    _timer: asyncio.TimerHandle | None = None
    _read = 0

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._most, self.limit_concurrency = self.limit_concurrency, None  # uvicorn's own answer has no Retry-After, and is not counted

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does so only for sockets that say they are of TCP; else the body waits for what acknowledges the headers: 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._complete()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._timer is not None:
            self._read += len(data)  # a piece that ends the headers is not too much, whatever follows in it
            if self._read - len(data) > self.most:
                self.send_400_response("The headers are too large.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._begin()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._complete()
        if self._most is not None and len(self.connections) > self._most:
            self.scope["state"]["crowded"] = self._most
        super().on_headers_complete()

    def _begin(self) -> None:
        if self._timer is None:
            self._read = 0
            self._timer = self.loop.call_later(self.seconds, self._close)

    def _complete(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        self.transport.close()
