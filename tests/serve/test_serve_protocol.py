"""Connections that send headers slowly, endlessly or not at all are closed, and those that are too many; others are not."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from serving import scale

from lamina.runtime.serve.app import application
from lamina.runtime.serve.protocol import BoundedProtocol
from lamina.runtime.serve.settings import Settings

GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection to a server that waits 0.2 s for headers."""
    monkeypatch.setattr(BoundedProtocol, "seconds", 0.2)
    with running(tmp_path) as address, socket.create_connection(address, timeout=10) as found:
        yield found


@contextmanager
def running(folder: Path, connections: int | None = None) -> Iterator[tuple[str, int]]:
    """The address of a server that listens as `lamina serve` does."""
    app = application([scale(folder)], Settings(poll=0, threads=1))
    config = uvicorn.Config(app, http=BoundedProtocol, log_config=None, access_log=False, limit_concurrency=connections)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join(10)


def answer(connection: socket.socket) -> bytes:
    """All of one answer, whose body is an object: it may come in pieces."""
    found = b""
    while not found.endswith(b"}"):
        found += (piece := connection.recv(1000))
        assert piece, found
    return found


@pytest.mark.parametrize("sent", [b"", b"GET /v2/hea", GET, GET + b"X: "], ids=["nothing", "line", "header", "half"])
def test_slow_headers(connection: socket.socket, sent: bytes) -> None:
    connection.sendall(sent)
    began = time.monotonic()
    assert connection.recv(100) == b""
    assert 0.1 < time.monotonic() - began < 5


def test_endless_headers(connection: socket.socket) -> None:
    connection.sendall(GET)
    answer = b""
    try:
        for _ in range(1000):
            connection.sendall(b"X: " + b"x" * 10_000 + b"\r\n")
        answer = connection.recv(1000)
    except ConnectionError:
        return  # closed while we were sending
    assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""


def test_a_quick_client_may_stay(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(GET + b"\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.15)  # longer than the bound, all together


def test_a_body_does_not_wait_for_its_headers_to_be_acknowledged(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times = []
    for _ in range(15):  # the first few are acknowledged at once
        began = time.monotonic()
        connection.sendall(GET + b"\r\n")
        answer(connection)
        times.append(time.monotonic() - began)
    assert min(times[5:]) < 0.03  # where it waits, each takes 0.04 s


def test_connections_that_are_too_many(tmp_path: Path) -> None:
    with running(tmp_path, 2) as address:
        connections = [socket.create_connection(address, timeout=10) for _ in range(3)]
        for one in connections[:2]:
            one.sendall(GET)  # never ends
        time.sleep(0.1)
        connections[2].sendall(GET + b"\r\n")
        refused = answer(connections[2])
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in refused
        assert json.loads(refused.partition(b"\r\n\r\n")[2]) == {"error": "more than 2 connections are open"}
        assert connections[2].recv(10) == b""  # it is closed, which makes room
        connections[1].sendall(b"\r\n")
        assert answer(connections[1]).startswith(b"HTTP/1.1 200 ")
        for one in connections:
            one.close()
