"""An arithmetic coder over 32-bit integers (Witten, Neal, Cleary 1987): symbols with given integer frequencies to bits and back."""

from __future__ import annotations

from collections.abc import Sequence

HALF, QUARTER, FULL = 1 << 31, 1 << 30, (1 << 32) - 1


class Encoder:
    """Takes symbols one by one; `finish` gives the bits."""

    def __init__(self) -> None:
        self.low, self.high, self.pending = 0, FULL, 0
        self.bits: list[int] = []

    def put(self, symbol: int, frequencies: Sequence[int]) -> None:
        self.low, self.high = _narrowed(self.low, self.high, symbol, frequencies)
        while (offset := _shift(self.low, self.high)) is not None:
            if offset == QUARTER:
                self.pending += 1
            else:
                self._bit(int(offset == HALF))
            self.low, self.high = 2 * (self.low - offset), 2 * (self.high - offset) + 1

    def finish(self) -> list[int]:
        self.pending += 1
        self._bit(int(self.low >= QUARTER))
        return self.bits

    def _bit(self, bit: int) -> None:
        self.bits += [bit, *([1 - bit] * self.pending)]
        self.pending = 0


class Decoder:
    """Gives the symbols back, asked with the same frequencies in the same order."""

    def __init__(self, bits: Sequence[int]) -> None:
        self.low, self.high = 0, FULL
        self.bits = iter(bits)
        self.code = 0
        for _ in range(32):
            self._next(0)

    def get(self, frequencies: Sequence[int]) -> int:
        found = ((self.code - self.low + 1) * sum(frequencies) - 1) // (self.high - self.low + 1)
        symbol = next(s for s in range(len(frequencies)) if found < sum(frequencies[: s + 1]))
        self.low, self.high = _narrowed(self.low, self.high, symbol, frequencies)
        while (offset := _shift(self.low, self.high)) is not None:
            self.low, self.high = 2 * (self.low - offset), 2 * (self.high - offset) + 1
            self._next(offset)
        return symbol

    def _next(self, offset: int) -> None:
        self.code = 2 * (self.code - offset) + next(self.bits, 0)


def _narrowed(low: int, high: int, symbol: int, frequencies: Sequence[int]) -> tuple[int, int]:
    total, width, below = sum(frequencies), high - low + 1, sum(frequencies[:symbol])
    return low + width * below // total, low + width * (below + frequencies[symbol]) // total - 1


def _shift(low: int, high: int) -> int | None:
    """What to take off both ends before they are doubled; None when they are far enough apart."""
    if high < HALF:
        return 0
    if low >= HALF:
        return HALF
    return QUARTER if low >= QUARTER and high < HALF + QUARTER else None
