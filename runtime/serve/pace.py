"""How long calls of a model take, from those that it has made."""

from __future__ import annotations

from typing import final

_NEWEST = 0.2  # the weight of the newest call


@final
class Pace:
    """A running mean of the seconds of a row. Before the first call nothing is known, and everything takes no time."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def took(self, rows: int, seconds: float) -> None:
        """Learn from a call with that many rows."""
        new = seconds / max(1, rows)
        self._seconds = new if self._seconds is None else _NEWEST * new + (1 - _NEWEST) * self._seconds

    def seconds(self, rows: int) -> float:
        """What so many rows take."""
        return rows * (self._seconds or 0.0)
