"""Bundles and backends on the same inputs, each in a process of its own, by turns: a busy moment of the machine hits all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np

from lamina.runtime import errors
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.machine import machine

_TURN, _MOST_CALLS = 0.05, 1000  # seconds that a turn takes at least, of so many calls at most
_WARM = 3  # turns
_LARGEST = 1 << 20  # bytes of a file of figures


@final
@dataclass(frozen=True, slots=True)
class Contender:
    """A bundle and the backend that runs it."""

    bundle: Path
    backend: str


@final
@dataclass(frozen=True, slots=True)
class Figures:
    """Of one contender: milliseconds of a call, the median of all turns with the 10th and 90th percentile; `ratio` is the first contender's
    time over its own in the same round, likewise (above 1 it is faster).

    `throughput` is calls a second at the median, `load_ms` what opening takes up to the first output, `peak_mb` the most memory that its
    process held, in millions of bytes, and `size_mb` the files that it reads.
    """

    name: str
    target: str
    dims: dict[str, int]
    median_ms: float
    p10_ms: float
    p90_ms: float
    ratio: float
    ratio_p10: float
    ratio_p90: float
    throughput: float
    load_ms: float
    peak_mb: float
    size_mb: float


@final
@dataclass(frozen=True, slots=True)
class Race:
    """The figures of all contenders, the first one's first, and the machine that they are of."""

    machine: Mapping[str, str]
    contenders: tuple[Figures, ...]

    def dump(self) -> str:
        """JSON, which `speeds` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"


def race(
    contenders: Sequence[Contender],
    dims: Mapping[str, int] | None = None,
    rounds: int = 30,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> Race:
    """Let each make some calls in each round, after some for warm-up. Dims that are not given are at their optimum.

    Raises what opening a bundle and running it raises, and InputError for rounds below 1.
    """
    if rounds < 1:
        raise InputError(f"{rounds} rounds: give at least 1")
    names = _names(contenders)
    with ExitStack() as opened:
        runners = []
        for name, contender in zip(names, contenders, strict=True):
            progress(f"open {name}")
            request = {"bundle": str(contender.bundle), "backend": contender.backend, "threads": threads, "dims": dict(dims or {})}
            runners.append(opened.enter_context(_Runner(request)))
        calls = [max(1, min(_MOST_CALLS, ceil(_TURN / min(runner.times(1)[0] for _ in range(_WARM))))) for runner in runners]
        times: list[list[float]] = [[] for _ in runners]
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for place in _order(len(runners), number):
                times[place].append(float(np.mean(runners[place].times(calls[place]))))
        return Race(machine(), tuple(_figures(n, r, t, times[0]) for n, r, t in zip(names, runners, times, strict=True)))


def speeds(path: Path) -> dict[str, float]:
    """From a file that `Race.dump` made: of each contender after the first how many times as fast as that it is, which the machine's mood
    hardly changes; of one alone its calls a second. InputError if it is none."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it is over {_LARGEST >> 20} MiB")
        first, *others = json.loads(path.read_bytes())["contenders"]
        found = {str(one["name"]): float(one["ratio"]) for one in others} or {str(first["name"]): float(first["throughput"])}
        if not all(0 < value < float("inf") for value in found.values()):
            raise ValueError("a speed is not above 0")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is no file that `lamina bench --out` writes ({error})") from error
    return found


def _names(contenders: Sequence[Contender]) -> list[str]:
    """What differs among them: folder, backend, or both. InputError where one stands twice."""
    names = [f"{c.bundle} {c.backend}" for c in contenders]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{twice} stands twice; give each bundle and each backend once")
    if len({contender.backend for contender in contenders}) == 1:
        return [str(contender.bundle) for contender in contenders]
    return [contender.backend for contender in contenders] if len({contender.bundle for contender in contenders}) == 1 else names


def _order(count: int, number: int) -> list[int]:
    """Who comes after whom changes from round to round."""
    places = [(place + number // 2) % count for place in range(count)]
    return places[::-1] if number % 2 else places


def _figures(name: str, runner: _Runner, times: Sequence[float], first: Sequence[float]) -> Figures:
    low, median, high = _spread(times)
    ratios = _spread([theirs / ours for theirs, ours in zip(first, times, strict=True)])
    about = runner.about
    return Figures(
        name=name,
        target=about["target"],
        dims=about["dims"],
        median_ms=1e3 * median,
        p10_ms=1e3 * low,
        p90_ms=1e3 * high,
        ratio=ratios[1],
        ratio_p10=ratios[0],
        ratio_p90=ratios[2],
        throughput=1 / median,
        load_ms=1e3 * about["load"],
        peak_mb=runner.peak,
        size_mb=about["bytes"] / 1e6,
    )


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    low, median, high = (float(value) for value in np.percentile(values, [10, 50, 90]))
    return low, median, high


@final
class _Runner:
    """A process of `race_worker.py` that holds an open bundle."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        command = [sys.executable, "-m", "lamina.runtime.race_worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.about = self._answer(request)
        except BaseException:
            self._end()
            raise
        self.peak = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def times(self, calls: int) -> list[float]:
        """Seconds of each of so many calls."""
        found = self._answer({"calls": calls})
        self.peak = found["peak"]
        times: list[float] = found["seconds"]
        return times

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers. Raises the errors of ours that it meets, and BundleError where it ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:  # killed, for its memory perhaps
            line = ""
        if not line:
            raise BundleError(f"what runs the bundle has ended with {self._process.wait()}; `lamina verify` says more")
        found: dict[str, Any] = json.loads(line)
        if "failed" in found:
            raise getattr(errors, found["kind"])(found["failed"])
        return found

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
