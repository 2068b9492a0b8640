"""One of several equal servers on a cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, final

from ray.exceptions import RayError

from lamina.runtime.errors import BundleError
from lamina.runtime.ray.asgi import Asked, Part, answered, live
from lamina.runtime.ray.copies import Copies
from lamina.runtime.serve.app import application
from lamina.runtime.serve.logs import log_as_json
from lamina.runtime.serve.server import Describe
from lamina.runtime.serve.settings import Settings

_LOG = logging.getLogger("lamina.serve")


@final
class Replica:
    """A deployment of Ray Serve: the whole application of `lamina serve`, over copies of a shelf's bundles."""

    async def __init__(self, shelf: Any, settings: Settings, describe: Describe) -> None:  # type: ignore[misc]  # which Serve awaits
        log_as_json()
        self._settings = settings
        self._copies = await asyncio.to_thread(Copies, shelf)
        await asyncio.to_thread(self._copies.refresh)
        self._app = await asyncio.to_thread(application, [self._copies.folder], settings, describe)
        self._end = asyncio.Event()
        self._tasks = [asyncio.ensure_future(live(self._app, self._end)), asyncio.ensure_future(self._refresh())]

    async def answer(self, asked: Asked) -> AsyncIterator[Part]:
        """What the application answers."""
        async for part in answered(self._app, asked):
            yield part

    async def __del__(self) -> None:  # which Serve awaits when all requests are answered
        life, refreshing = self._tasks
        refreshing.cancel()
        self._end.set()
        await life
        await asyncio.to_thread(self._copies.close)

    async def _refresh(self) -> None:
        """Copy what changes on the shelf; the application sees it, as its own watch looks at the copies."""
        while self._settings.poll:
            await asyncio.sleep(self._settings.poll)
            try:
                await asyncio.to_thread(self._copies.refresh)
            except (BundleError, OSError, RayError) as error:
                _LOG.error("bundles cannot be copied: %s", error)
