"""All peers on one model: each in a process of its own, by turns, so that a busy moment of the machine hits all."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

OURS = "lamina"
_TURN = 0.3  # seconds that a peer's turn takes, about
_MOST = 1800  # seconds, for one answer


@dataclass(frozen=True, slots=True)
class Settings:
    rounds: int
    threads: int
    batches: Sequence[int]
    peers: Sequence[str]


class Failed(Exception):
    """A peer cannot do this model, and why."""


class Worker:
    """A process of `worker.py`."""

    def __init__(self, task: str, folder: Path, request: Mapping[str, Any]) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "job.json").write_text(json.dumps(request))
        command = [sys.executable, "-m", "benchmarks.suite.worker", task, str(folder)]
        with (folder / f"{task}.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)

    def answer(self) -> dict[str, Any]:
        """Its next. Raises Failed where it has none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"failed": f"ended with {self._process.wait()}"}
        if "failed" in found:
            raise Failed(found["failed"])
        return found

    def times(self, calls: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps({"calls": calls}), file=self._process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def once(task: str, folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a process answers that answers once."""
    worker = Worker(task, folder, request)
    try:
        return worker.answer()
    finally:
        worker.close()


def race(model: str, folder: Path, settings: Settings) -> dict[str, dict[str, Any]]:
    """Of each batch, what each peer took, or why it could not. Raises Failed where ours cannot."""
    once("setup", folder, {"model": model, "batches": settings.batches})
    return {str(batch): _at(model, batch, folder, settings) for batch in settings.batches}


def _at(model: str, batch: int, folder: Path, settings: Settings) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for peer in settings.peers:
            request = {"model": model, "peer": peer, "batch": batch, "threads": settings.threads}
            own = folder / f"{peer}-{batch}"
            try:
                prepared = once("prepare", own, request)
                worker = Worker("race", own, request)
                stack.callback(worker.close)
                found[peer] = {"compile_s": prepared["seconds"], "bytes": prepared["bytes"], "load_s": worker.answer()["seconds"]}
                workers[peer] = worker
            except Failed as failed:
                if peer == OURS:
                    raise
                found[peer] = {"failed": str(failed)}
        for peer in list(workers):
            if peer != OURS and (error := _error(folder, peer, batch)) > 1e-3:
                found[peer] = {"failed": f"computes something else: {error:.1e} of the largest magnitude"}
                del workers[peer]
        for peer, times in _turns(workers, settings.rounds).items():
            found[peer] |= times
    return found


def _error(folder: Path, peer: str, batch: int) -> float:
    a, b = (np.load(folder / f"{name}-{batch}" / "output.npy").astype(np.float64) for name in (peer, OURS))
    return float(np.abs(a - b).max() / np.abs(b).max()) if a.shape == b.shape else float("inf")


def _turns(workers: Mapping[str, Worker], rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds of each peer round by round: the median of a turn."""
    calls = {peer: max(1, min(50, int(_TURN / min(worker.times(2)["times"])))) for peer, worker in workers.items()}
    seconds: dict[str, list[float]] = {peer: [] for peer in workers}
    peaks: dict[str, int] = {}
    order, rng = list(workers), random.Random(0)
    for _ in range(rounds):
        rng.shuffle(order)
        for peer in order:
            time.sleep(0.05)  # the threads of the one before have gone to sleep
            answer = workers[peer].times(calls[peer])
            seconds[peer].append(statistics.median(answer["times"]))
            peaks[peer] = answer["peak"]
    return {peer: {"seconds": seconds[peer], "peak": peaks[peer]} for peer in workers}
