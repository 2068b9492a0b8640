"""Run the worker: one request in, one answer out, whatever the native library does in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from lamina.compiler.missing import MachineError
from lamina.compiler.targets.tensorrt.library import Library

Progress = Callable[[float, str], None]  # the share done (0 to 1), and what is being done
WORKER = Path(__file__).with_name("worker.py")
LOG_TAIL = 2000


class EngineError(MachineError):
    """The library broke, ran out of time or cannot do what was asked, and no line of the spec is to blame."""


def run(library: Library, request: Mapping[str, Any], timeout: float, progress: Progress | None = None) -> dict[str, Any]:
    """The worker's answer. Raises `EngineError` when it crashes, is still busy after `timeout` seconds, or the library does not load.

    The worker never outlives this call.
    """
    with tempfile.TemporaryFile() as log, _started(log, timeout) as (process, expired):
        answer = _converse(process, {"library": library.name, **request}, progress)
        if answer is None:
            raise EngineError(_obituary(library, process.wait(), timeout if expired.is_set() else None, log))
    if "lacking" in answer:
        raise EngineError(f"{library} is installed but does not load: {answer['lacking']}")
    return answer


@contextmanager
def _started(log: IO[bytes], timeout: float) -> Iterator[tuple[subprocess.Popen[str], threading.Event]]:
    """The process, and an event that is set if it was stopped for taking too long."""
    expired = threading.Event()
    command = [sys.executable, "-P", str(WORKER)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8")

    def expire() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(timeout, expire)
    timer.start()
    try:
        yield process, expired
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _converse(process: subprocess.Popen[str], request: Mapping[str, Any], progress: Progress | None) -> dict[str, Any] | None:
    """Send the request and read lines until the answer; None if the process ends without one."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it died first: its exit status tells more
        json.dump(request, process.stdin)
        process.stdin.close()
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if "progress" not in message:
            return message
        if progress is not None:
            progress(message["progress"], message["phase"])
    return None


def _obituary(library: Library, status: int, timeout: float | None, log: IO[bytes]) -> str:
    if timeout is not None:
        return f"{library} was stopped: it was still busy after {timeout:g} s"
    log.seek(0)
    words = log.read()[-LOG_TAIL:].decode("utf-8", "replace").strip()
    return f"{library} {_death(status)}" + (f"; the last it said:\n{words}" if words else "; it left no message")


def _death(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    cause = ": the machine may have run out of memory" if name == "SIGKILL" else ""
    return f"crashed ({name}){cause}"
