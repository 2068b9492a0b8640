"""Calls of one model: queued, joined where that is sound, and made by the model's own threads."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError
from lamina.runtime.serve.joining import Joining
from lamina.runtime.serve.pace import Pace
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.settings import Limits

Outputs = dict[str, Array]
Run = Callable[[dict[str, Array], str | None], Outputs]
_LOG = logging.getLogger("lamina.serve")
_SURE = 0.8  # of the time that is left: what the mean says will take all of it is too late every other time
_WASTE = 1.5  # rows are padded to at most so many times the tokens that they have together


@final
@dataclass(slots=True, eq=False)
class Call:
    """One request's call. `answer` is how many bytes its outputs have, `deadline` a time of `time.monotonic`."""

    inputs: dict[str, Array]
    adapter: str | None
    answer: int
    deadline: float
    future: asyncio.Future[Outputs]
    kind: tuple[Any, ...] | None = None
    rows: int = 1
    length: int = 1
    began: float = field(default_factory=time.monotonic)


@final
class Scheduler:
    """`submit` and `close` are for the event loop's thread. `made` is told of each call: its requests, its rows, its seconds."""

    def __init__(self, run: Run, joining: Joining | None, limits: Limits, workers: int, made: Callable[[int, int, float], None]) -> None:
        self._run, self._joining, self._limits, self._made = run, joining, limits, made
        self._queue: deque[Call] = deque()
        self._pace = Pace()
        self._running = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True, name="lamina-model") for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def admit(self, deadline: float) -> None:
        """Refused: 503, as `submit` would refuse a call of one row now. To refuse a request unread takes half as long."""
        with self._changed:
            self._admit(1, deadline)

    def submit(self, inputs: dict[str, Array], adapter: str | None, answer: int, deadline: float) -> asyncio.Future[Outputs]:
        """The outputs, in time. Cancelling it takes the call back where it has not begun.

        Refused: 503, where the queue is full, or the answer would come too late.
        """
        call = Call(inputs, adapter, answer, deadline, asyncio.get_running_loop().create_future())
        if self._joining is not None and (kind := self._joining.kind(inputs)) is not None:
            call.kind, call.rows, call.length = (adapter, kind), len(next(iter(inputs.values()))), self._joining.length(inputs)
        with self._changed:
            self._admit(call.rows, call.deadline)
            self._queue.append(call)
            self._changed.notify()
        return call.future

    def close(self) -> None:
        """Make the calls that wait, and end. Blocks until then."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _admit(self, rows: int, deadline: float) -> None:
        if len(self._queue) >= self._limits.queue:
            self._queue = deque(waiting for waiting in self._queue if not waiting.future.done())
        ahead = self._pace.seconds(sum(waiting.rows for waiting in self._queue) + self._running) / len(self._threads)
        if len(self._queue) >= self._limits.queue:
            raise Refused(503, f"{len(self._queue)} requests wait for this model, and no more may", max(1, math.ceil(ahead)))
        if (self._queue or self._running) and ahead + self._pace.seconds(rows) > _SURE * (deadline - time.monotonic()):
            raise Refused(
                503, f"the requests before this one take {ahead:.1f} s, so it would be answered too late", max(1, math.ceil(ahead))
            )

    def _work(self) -> None:
        while (calls := self._next()) is not None:
            began = time.monotonic()
            rows = sum(call.rows for call in calls)
            results = self._make(calls)
            with self._changed:
                self._running -= rows
                self._pace.took(rows, time.monotonic() - began)
            self._made(len(calls), rows, time.monotonic() - began)
            _deliver(calls, results)

    def _next(self) -> list[Call] | None:
        """The calls to make together, when there are any; None at the end."""
        with self._changed:
            while True:
                while self._queue:
                    if calls := self._take():
                        self._running += sum(call.rows for call in calls)
                        return calls
                if self._closed:
                    return None
                self._changed.wait()

    def _take(self) -> list[Call]:
        """The oldest call that is still wanted, and those that join it."""
        first = self._queue.popleft()
        if _is_over(first):
            return []
        taken, rows, length, tokens, answer = [first], first.rows, first.length, first.rows * first.length, first.answer
        if self._joining is None or first.kind is None:
            return taken
        left: deque[Call] = deque()
        for call in self._queue:
            longest, sure = max(length, call.length), tokens + call.rows * call.length
            fits = rows + call.rows <= self._joining.most and answer + call.answer <= self._limits.answer
            if call.kind != first.kind or not fits or (rows + call.rows) * longest > _WASTE * sure:
                left.append(call)
            elif not _is_over(call):
                taken.append(call)
                rows, length, tokens, answer = rows + call.rows, longest, sure, answer + call.answer
        self._queue = left
        return taken

    def _make(self, calls: list[Call]) -> list[Outputs | Exception]:
        if len(calls) == 1 or self._joining is None:
            return [self._alone(call) for call in calls]
        given = [call.inputs for call in calls]
        try:
            return list(self._joining.split(self._run(self._joining.join(given), calls[0].adapter), given))
        except Exception:  # whose fault it is shows when each is made by itself
            return [self._alone(call) for call in calls]

    def _alone(self, call: Call) -> Outputs | Exception:
        try:
            return self._run(call.inputs, call.adapter)
        except InputError as error:
            return Refused(400, str(error))
        except Exception as error:
            _LOG.exception("a call of the model failed")
            return error


def _is_over(call: Call) -> bool:
    """Whether nobody waits for it any more."""
    return call.future.done() or time.monotonic() > call.deadline


def _deliver(calls: list[Call], results: list[Outputs | Exception]) -> None:
    """Hand the results to the event loop, all in one message."""
    calls[0].future.get_loop().call_soon_threadsafe(_resolve, calls, results)


def _resolve(calls: list[Call], results: list[Outputs | Exception]) -> None:
    for call, result in zip(calls, results, strict=True):
        if not call.future.done():
            if isinstance(result, Exception):
                call.future.set_exception(result)
            else:
                call.future.set_result(result)
