"""Connections that send headers slowly, endlessly or not at all are closed; others are not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
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
    app = application([scale(tmp_path)], Settings(poll=0, threads=1))
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=BoundedProtocol, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with socket.create_connection(server.servers[0].sockets[0].getsockname(), timeout=10) as found:
        yield found
    server.should_exit = True
    thread.join(10)


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
        answer = connection.recv(1000)
        while not answer.endswith(b"}"):  # the body may come by itself
            answer += connection.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200 ")
        time.sleep(0.15)  # longer than the bound, all together
