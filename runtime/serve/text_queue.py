"""Texts that wait to be written: how many may, and which join those that are being written."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from lamina.runtime.generation.joinable import Memory
from lamina.runtime.generation.texts import Piece
from lamina.runtime.generation.writing import Writing
from lamina.runtime.serve.pace import Pace
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.settings import Limits

_WASTE = 1.5  # prompts are padded to at most so many times the tokens that they have together
_FEW, _MANY = 64, 2048  # tokens of prompts that are read together, padding included: always, and at most, as what is being written waits


@final
@dataclass(slots=True, eq=False)
class Asked:
    """A request for texts, until `deadline` (of `time.monotonic`). `found` gets what is made, in its loop; `left`: nobody waits for it."""

    deadline: float
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    found: asyncio.Queue[Piece | Refused] = field(default_factory=asyncio.Queue)
    left: bool = False

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.left or time.monotonic() > self.deadline


@final
@dataclass(slots=True, eq=False)
class Entry:
    """One text: when it left the queue, and how many tokens it has. `since` is when it got the newest, before when it was asked for."""

    text: Writing
    asked: Asked
    since: float = field(default_factory=time.monotonic)
    joined: float = 0.0
    tokens: int = 0


@final
class TextQueue:
    """Safe to call from several threads. `most` texts are written at a time by each of `workers`, whose states share `limits.cache`."""

    def __init__(self, most: int, workers: int, memory: Memory, limits: Limits) -> None:
        self._most, self._workers, self._memory, self._limits = most, workers, memory, limits
        self._waiting: deque[Entry] = deque()
        self._coming = 0
        self._pace = Pace()  # of texts
        self._closed = False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many requests have texts that wait, or are coming."""
        with self._changed:
            return self._coming + len({id(entry.asked) for entry in self._waiting})

    def admit(self, deadline: float) -> None:
        """Let a request come; `put` or `turn_away` must follow. Refused: 503, where too many wait, or its texts would begin too late."""
        with self._changed:
            self._waiting = deque(entry for entry in self._waiting if not entry.asked.over)
            waiting = self.waiting
            ahead = self._pace.seconds(len(self._waiting)) / (self._most * self._workers)
            if waiting >= self._limits.queue:
                raise Refused(503, f"{waiting} requests for texts wait for this model, and no more may", max(1, math.ceil(ahead)))
            if time.monotonic() + ahead > deadline:
                raise Refused(503, f"the texts before this one take {ahead:.1f} s, so it would come too late", max(1, math.ceil(ahead)))
            self._coming += 1

    def put(self, entries: Sequence[Entry]) -> None:
        """Let these wait, which were let come."""
        with self._changed:
            self._coming -= 1
            self._waiting += entries
            self._changed.notify_all()

    def turn_away(self) -> None:
        """What was let come does not."""
        with self._changed:
            self._coming -= 1

    def close(self) -> None:
        """Let `take` end when nothing waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def ended(self, entry: Entry) -> None:
        """Learn from a text how long one takes."""
        with self._changed:
            self._pace.took(1, time.monotonic() - entry.joined)

    def take(self, running: Sequence[Writing]) -> list[Entry] | None:
        """The texts that join those that are being written, the oldest first, so many as are read in one call.

        Where none is being written it waits for one; None at the end.
        """
        with self._changed:
            while True:
                if (found := self._fitting(running)) or running:
                    return found
                if self._closed and not self._waiting:
                    return None
                self._changed.wait()

    def _fitting(self, running: Sequence[Writing]) -> list[Entry]:
        found: list[Entry] = []
        while self._waiting and len(running) + len(found) < self._most:
            if not self._waiting[0].asked.over:
                if not self._fits(self._waiting[0].text, [entry.text for entry in found], running):
                    break
                found.append(self._waiting[0])
            self._waiting.popleft()
        return found

    def _fits(self, text: Writing, found: Sequence[Writing], running: Sequence[Writing]) -> bool:
        """Whether its prompt is read with theirs, and its states have room beside all. A text that is alone always does."""
        lengths = [one.most for one in (*running, *found, text)]
        if len(lengths) > 1 and self._memory.needed(lengths) > self._limits.cache // self._workers:
            return False
        prompts = [len(one.prompt) for one in (*found, text)]
        padded = len(prompts) * max(prompts)
        return not found or padded <= max(_FEW, min(_MANY, _WASTE * sum(prompts)))
