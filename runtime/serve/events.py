"""Server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lamina.runtime.serve.refused import Refused


@final
class Events(Response):
    """An answer that comes in parts. `held` is let go when it ends, be it because the client has left."""

    def __init__(self, events: AsyncIterator[Mapping[str, Any]], held: AsyncExitStack) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._events, self._held = events, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            writing = asyncio.ensure_future(self._write(send))
            gone = asyncio.ensure_future(_left(receive))
            try:
                await asyncio.wait({writing, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        async def say(data: str) -> None:
            await send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})

        try:
            async for event in self._events:
                await say(json.dumps(event))
        except Refused as refused:
            await say(json.dumps({"error": refused.openai}))
        except Exception:  # which is in the log
            await say(json.dumps({"error": Refused(500, "the server failed").openai}))
        await say("[DONE]")
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
