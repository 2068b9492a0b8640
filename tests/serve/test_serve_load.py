"""`lamina bench --url`: what is counted of a server that answers, is busy, or refuses."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from serving import scale

from lamina.cli import main
from lamina.runtime.errors import InputError
from lamina.runtime.load import load


@contextmanager
def server(*statuses: int) -> Iterator[tuple[str, list[tuple[str, str | None, bytes]]]]:
    """A server that takes 20 ms and answers with these statuses in turn; its address, and what it was asked."""
    asked: list[tuple[str, str | None, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked.append((self.path, self.headers["Authorization"], self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(0.02)
            self.send_response(statuses[(len(asked) - 1) % len(statuses)])
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"full")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever).start()
        yield f"http://127.0.0.1:{made.server_port}", asked
        made.shutdown()


def test_times_and_refusals(tmp_path: Path) -> None:
    with server(200, 200, 503) as (url, asked):
        found = load(url, scale(tmp_path), {"N": 3}, clients=1, repeats=8, token="s3cret")
    assert (found.requests, found.refused, found.dims) == (8, 3, {"N": 3})
    assert 20 <= found.p10_ms <= found.median_ms <= found.p99_ms
    assert 0 < found.throughput < 50 * 5 / 8 + 1  # 8 requests of 20 ms, 5 of them answered
    path, token, body = asked[0]
    assert (path, token) == ("/v2/models/scale/infer", "Bearer s3cret")
    assert json.loads(body[: body.rindex(b"}") + 1])["inputs"][0]["shape"] == [3, 3]


def test_clients_ask_at_a_time(tmp_path: Path) -> None:
    with server(200) as (url, asked):
        assert load(f"{url}/v2/models/other/versions/2", scale(tmp_path), clients=4, repeats=5).throughput > 60  # one alone: 50 at most
    assert {path for path, *_ in asked} == {"/v2/models/other/versions/2/infer"}


def test_what_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = scale(tmp_path)
    with server(400) as (url, _), pytest.raises(InputError, match="the server answers 400: full"):
        load(url, bundle)
    with server(503) as (url, _), pytest.raises(InputError, match="was busy for all 30 requests"):
        load(url, bundle)
    with pytest.raises(InputError, match="`ftp://x` is not the address of a server"):
        load("ftp://x", bundle)
    with server(200) as (url, _):
        monkeypatch.setattr(sys, "argv", ["lamina", "bench", str(bundle), "--url", url, "--repeats", "3", "--json"])
        with pytest.raises(SystemExit):
            main()
    assert json.loads(capsys.readouterr().out)["requests"] == 3
