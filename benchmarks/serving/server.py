"""Servers as processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.client import Found, Job, ask
from benchmarks.serving.models import BUILD, ROOT, Model, Request

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers at `port`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def memory(self) -> float:
        """Megabytes (of 10^6 bytes) that it holds now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def processor(self) -> float:
        """Seconds that it has been on a processor."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def ask(self, request: Request, connections: int, seconds: float, rate: float | None = None, requests: int | None = None) -> Found:
        """What a client finds."""
        return ask(Job(self.port, request.path, request.headers, request.body.hex(), connections, seconds, rate, requests))


@contextmanager
def lamina(model: Model, *options: object, port: int | None = None) -> Iterator[Server]:
    """`lamina serve` with a thread for each call."""
    command = [sys.executable, "-m", "lamina", "serve", model.bundle, "--threads", 1, "--poll", 0, *options]
    with started("lamina", command, port or free_port(), "--port") as server:
        yield server


@contextmanager
def started(name: str, command: Sequence[object], port: int, option: str | None = None, **variables: str) -> Iterator[Server]:
    """A server that has begun to listen at `port`, which the command is told by `option`, and which is ended with SIGTERM."""
    BUILD.mkdir(parents=True, exist_ok=True)
    log = BUILD / f"{name}.log"
    told = [*command, *([] if option is None else [option, port])]
    environment: Mapping[str, str] = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | variables
    with log.open("ab") as errors:
        process = subprocess.Popen([str(part) for part in told], stdout=errors, stderr=errors, cwd=ROOT, env=environment)
    try:
        _wait(process, port, log)
        yield Server(process, port, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionError:
            time.sleep(0.05)
    raise RuntimeError(f"the server does not listen: {log.read_text()[-2000:]}")
