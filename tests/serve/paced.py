"""Decoders whose steps wait until they may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lamina.runtime.dtypes import Array
from lamina.runtime.generation.session_steps import StreamSteps


class Paced:
    """`rows` is how many texts each step went on with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self._may, self._began = threading.Semaphore(0), threading.Semaphore(0)
        whole = StreamSteps.step

        def step(steps: StreamSteps, ids: Array) -> Array:
            self.rows.append(len(ids))
            self._began.release()
            assert self._may.acquire(timeout=5)
            return whole(steps, ids)

        monkeypatch.setattr(StreamSteps, "step", step)

    def until(self, steps: int) -> None:
        """Return when so many more steps have begun, all but the last of which are let end."""
        for step in range(steps):
            if step:
                self._may.release()
            assert self._began.acquire(timeout=5)

    def one_more(self) -> None:
        """Let the step that has begun end, and return when the next has begun."""
        self._may.release()
        assert self._began.acquire(timeout=5)

    def free(self) -> None:
        """Let nothing wait any more."""
        self._may.release(100_000)


@contextmanager
def paced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Paced]:
    """Steps that wait, until the end."""
    found = Paced(monkeypatch)
    try:
        yield found
    finally:
        found.free()
