"""A thread that writes texts of one model: those that wait join it between two steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import final

from lamina.runtime.errors import InputError
from lamina.runtime.generation.running import Made, Running
from lamina.runtime.generation.texts import Piece
from lamina.runtime.generation.writing import Writing
from lamina.runtime.serve.metrics import TextMetrics
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.text_queue import Asked, Entry, TextQueue

_LOG = logging.getLogger("lamina.serve")
_FAILED = "the text cannot be written; the server's log says why"


@final
class TextWriter:
    """`run` is for a thread of its own: it ends when the queue does. `begin` makes what texts run in."""

    def __init__(self, begin: Callable[[], Running], queue: TextQueue, metrics: TextMetrics) -> None:
        self._begin, self._queue, self._metrics = begin, queue, metrics
        self._entries: dict[Writing, Entry] = {}

    def run(self) -> None:
        """Write until the queue is closed and empty."""
        running = self._begin()
        while (new := self._queue.take(running.texts)) is not None:
            try:
                self._advance(running, new)
            except Exception:  # of a step: no text of it can go on
                _LOG.exception("texts cannot be written")
                self._deliver([(text, Refused(500, _FAILED)) for text in self._entries])
                running = self._begin()

    def _advance(self, running: Running, new: Sequence[Entry]) -> None:
        """One step of all, which the new ones join; then those that nobody waits for leave."""
        now = time.monotonic()
        for entry in new:
            entry.joined = now
            self._entries[entry.text] = entry
        if new:
            self._deliver(running.join([entry.text for entry in new]))
        if texts := len(running.texts):
            self._metrics.stepped(texts)
            self._deliver(running.step())
        over = {text for text in running.texts if self._entries[text].asked.over}
        running.leave(over)
        for text in over:
            del self._entries[text]

    def _deliver(self, made: Sequence[Made]) -> None:
        """Hand what was made to the event loop, all in one message."""
        told: list[tuple[Asked, Piece | Refused]] = []
        for text, outcome in made:
            entry = self._entries[text]
            told.append((entry.asked, _refused(outcome) if isinstance(outcome, Exception) else outcome))
            if isinstance(outcome, Piece):
                self._count(entry, outcome)
            if isinstance(outcome, Exception) or outcome.whole is not None:
                self._queue.ended(entry)
                del self._entries[text]
        if told:
            told[0][0].loop.call_soon_threadsafe(_put, told)

    def _count(self, entry: Entry, piece: Piece) -> None:
        now = time.monotonic()
        self._metrics.wrote(len(piece.ids), now - entry.since, entry.tokens == 0)
        entry.since, entry.tokens = now, entry.tokens + len(piece.ids)


def _refused(error: Exception) -> Refused:
    """What a client is told; the log says the rest."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, InputError):
        return Refused(400, str(error))
    _LOG.error("a text cannot be written", exc_info=error)
    return Refused(500, _FAILED)


def _put(told: list[tuple[Asked, Piece | Refused]]) -> None:
    for asked, one in told:
        asked.found.put_nowait(one)
