"""A lean client in a process of its own: raw sockets, a request that was made before, and no library between.

    python -m benchmarks.serving.client < JOB

`JOB` is a `Job` as JSON, and so is what comes back, a `Found`.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

_CHUNK = 2**18
_PATIENCE = 30.0  # seconds that answers may still take at the end


@dataclass(frozen=True, slots=True)
class Job:
    """What to ask of 127.0.0.1:`port`: a POST of `body` (in hexadecimal) to `path`, from `connections` at a time, each again and again.

    With a `rate`, so many a second are sent whatever comes back, and `connections` is the most there may be. It ends after `seconds`, or
    after `requests` where there are some. `numbered`: each has an X-Request-Id of its own, and where nobody listens it tries again.
    """

    port: int
    path: str
    headers: Mapping[str, str]
    body: str
    connections: int
    seconds: float
    rate: float | None = None
    requests: int | None = None
    numbered: bool = False


@dataclass(slots=True)
class Found:
    """Milliseconds of the answers, by their status; with a rate they are from when the request was due.

    `seconds` is how long all took, `processor` how much of it this client was on a processor. `ids` are of numbered requests that were
    answered 200, and `again` how many were sent again.
    """

    times: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    processor: float = 0.0
    ids: list[int] = field(default_factory=list)
    again: int = 0

    @property
    def answered(self) -> list[float]:
        """Milliseconds of those that were answered with 200."""
        return self.times.get("200", [])

    @property
    def throughput(self) -> float:
        """Those a second."""
        return len(self.answered) / self.seconds


def ask(job: Job) -> Found:
    """What a process of its own finds."""
    command = [sys.executable, "-m", "benchmarks.serving.client"]
    done = subprocess.run(command, input=json.dumps(asdict(job)), capture_output=True, text=True, timeout=job.seconds + 60, check=False)
    if done.returncode:
        raise RuntimeError(f"the client failed: {done.stderr[-2000:]}")
    return Found(**json.loads(done.stdout))


def complete(data: bytes) -> int | None:
    """The status of an answer, once all of it has come. It must tell its length, as all the servers here do."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    _, told, rest = head.partition(b"\r\ncontent-length:")
    if not told:
        raise ValueError(f"an answer without a length: {data[:200]!r}")
    length = int(rest.partition(b"\r\n")[0])
    return int(head[9:12]) if len(data) >= end + 4 + length else None


class _Connection:
    """A socket, the request that it waits for an answer to, and what of that has come."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.due, self.number = b"", 0.0, 0

    def send(self, request: bytes, due: float, number: int) -> None:
        self.data, self.due, self.number = b"", due, number
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """The status, once the answer is there. ConnectionError where the server has closed."""
        chunk = self.socket.recv(_CHUNK, socket.MSG_DONTWAIT)
        if not chunk:
            raise ConnectionResetError
        self.data += chunk
        return complete(self.data)


class _Load:
    """The loop of one job."""

    def __init__(self, job: Job) -> None:
        self._job, self.found = job, Found()
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._busy: set[_Connection] = set()
        self._free: list[_Connection] = []
        self._due: deque[tuple[float, int]] = deque()
        self._sent = 0
        body = bytes.fromhex(job.body)
        said = {"Host": f"localhost:{job.port}", **job.headers, "Content-Length": len(body)}
        self._head = "\r\n".join([f"POST {job.path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]).encode()
        self._body = b"\r\n\r\n" + body

    def run(self) -> None:
        began = time.monotonic()
        end = began + self._job.seconds
        while (now := time.monotonic()) < end or self._busy or self._due:
            if now > end + _PATIENCE:
                raise TimeoutError(f"{len(self._busy) + len(self._due)} requests are not answered")
            if now < end:
                self._plan(began, now)
            while self._due and self._connected():
                self._send(*self._due.popleft())
            for number, _ in self._poll.poll(self._until_next(began)):
                self._receive(self._open[number])
            if self._sent == self._job.requests and not self._busy and not self._due:
                break
        self.found.seconds = time.monotonic() - began

    def _plan(self, began: float, now: float) -> None:
        """Requests that are due: by the clock, or as many as connections are free."""
        due = (
            int((now - began) * self._job.rate) if self._job.rate else self._sent + self._job.connections - len(self._busy) - len(self._due)
        )
        for number in range(self._sent, due if self._job.requests is None else min(due, self._job.requests)):
            self._due.append((began + number / self._job.rate if self._job.rate else now, number))
            self._sent += 1

    def _until_next(self, began: float) -> float:
        if self._job.rate is None:
            return 0.1
        return min(0.1, max(0.0, began + (self._sent + 1) / self._job.rate - time.monotonic()))

    def _connected(self) -> bool:
        """Whether there is a free connection, or one can be made."""
        if not self._free and len(self._busy) < self._job.connections:
            try:
                made = _Connection(self._job.port)
            except ConnectionError:
                if not self._job.numbered:
                    raise
                return False  # nobody listens, for a moment
            self._poll.register(made.socket, select.EPOLLIN)
            self._open[made.socket.fileno()] = made
            self._free.append(made)
        return bool(self._free)

    def _send(self, due: float, number: int) -> None:
        connection = self._free.pop()
        self._busy.add(connection)
        name = f"\r\nX-Request-Id: {number}".encode() if self._job.numbered else b""
        try:
            connection.send(self._head + name + self._body, due, number)
        except ConnectionError:
            self._drop(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            status = connection.receive()
        except ConnectionError:
            self._drop(connection)
            return
        if status is None:
            return
        self.found.times.setdefault(str(status), []).append(round(1000 * (time.monotonic() - connection.due), 3))
        if self._job.numbered and status == 200:
            self.found.ids.append(connection.number)
        self._busy.remove(connection)
        self._free.append(connection)

    def _drop(self, connection: _Connection) -> None:
        """The server has closed it: as it idled or ends, which it may before it has read a request. That is sent again."""
        del self._open[connection.socket.fileno()]
        connection.socket.close()
        if connection not in self._busy:
            self._free.remove(connection)
            return
        if connection.data:
            raise ConnectionError("a connection was closed amid an answer")
        self._busy.remove(connection)
        self.found.again += 1
        self._due.append((connection.due, connection.number))


def main() -> None:
    load = _Load(Job(**json.load(sys.stdin)))
    load.run()
    load.found.processor = time.process_time() / load.found.seconds
    json.dump(asdict(load.found), sys.stdout)


if __name__ == "__main__":
    main()
