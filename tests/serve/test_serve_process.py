"""`lamina serve` as a process of its own: what it accepts is answered, also after SIGTERM; what is too much is refused at once."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from serving import free_port, in_json, slow, until_ready
from small_decoders import decoder

from lamina.cli import main

ASK = in_json(x=("FP32", [[1, 2, 3]]))
INFER = "/v2/models/slow/infer"


@contextmanager
def serving(log: Path, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A process and a client of it, once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "lamina", "serve", *map(str, arguments), "--port", str(port), "--threads", "1"]
    with log.open("w") as errors:
        process = subprocess.Popen(command, stderr=errors, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until_ready(process, client, log)
            yield process, client
    finally:
        process.kill()
        process.wait()


def ask(client: httpx.Client) -> httpx.Response:
    return client.post(INFER, json=ASK)


def test_overload_clients_that_leave_and_the_end(tmp_path: Path) -> None:
    with serving(tmp_path / "log", slow(tmp_path), "--queue", 5) as (process, client), ThreadPoolExecutor(16) as threads:
        refuses_what_is_too_much(client, threads)
        works_for_nobody_who_left(client, threads)

        last = [threads.submit(ask, client) for _ in range(3)]
        while client.get("/metrics").text.count('lamina_waiting_requests{model="slow",version="1"} 2.0') == 0:
            assert not any(one.done() for one in last[1:])
        process.send_signal(signal.SIGTERM)
        assert [one.result().json()["outputs"][0]["data"] for one in last] == [[2, 4, 6]] * 3
        assert process.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            ask(client)
        assert {json.loads(line)["level"] for line in (tmp_path / "log").read_text().splitlines()} == {"info"}


def refuses_what_is_too_much(client: httpx.Client, threads: ThreadPoolExecutor) -> None:
    answers = [one.result() for one in [threads.submit(ask, client) for _ in range(16)]]
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 503)
    assert statuses.count(200) >= 6  # one that is made, five that wait


def works_for_nobody_who_left(client: httpx.Client, threads: ThreadPoolExecutor) -> None:
    before = made(client)
    first = threads.submit(ask, client)
    with httpx.Client(base_url=client.base_url) as leaving:
        time.sleep(0.05)
        for _ in range(5):
            with pytest.raises(httpx.ReadTimeout):
                leaving.post(INFER, json=ASK, timeout=0.005)
    assert first.result().status_code == 200
    assert ask(client).status_code == 200
    assert made(client) - before <= 4  # the two that waited, and those that had begun
    assert 'status="499"' in client.get("/metrics").text


def test_texts_of_clients_that_leave_and_at_the_end(tmp_path: Path) -> None:
    asked = {"model": "recurrent", "prompt": [5, 7], "temperature": 0}
    folder = decoder(tmp_path, "recurrent")
    with serving(tmp_path / "log", folder, "--batch", 1) as (process, client), ThreadPoolExecutor(3) as threads:
        with client.stream("POST", "/v1/completions", json=asked | {"max_tokens": 1024, "stream": True}) as answer:
            next(answer.iter_lines())
        assert write(client, asked, 2) == 2  # in the only place that there is
        assert written(client) < 1024

        last = [threads.submit(write, client, asked, 400) for _ in range(3)]
        while 'lamina_waiting_requests{model="recurrent",version="1"} 2.0' not in client.get("/metrics").text:
            assert not any(one.done() for one in last)
        process.send_signal(signal.SIGTERM)
        assert [one.result() for one in last] == [400, 400, 400]
        assert process.wait(30) == 0


def write(client: httpx.Client, asked: dict[str, object], tokens: int) -> int:
    """How many tokens the answer says that it has."""
    answer = client.post("/v1/completions", json=asked | {"max_tokens": tokens})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["completion_tokens"])


def written(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("lamina_tokens_total")).split()[1])


def test_traces_go_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        with serving(tmp_path / "log", slow(tmp_path)) as (process, client):
            trace = "0af7651916cd43dd8448eb211c80319c"
            client.get("/v2/models/slow", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        collector.shutdown()
    spans = b"".join(body for path, body in received if path == "/v1/traces")
    assert b"/v2/models/{name}" in spans
    assert bytes.fromhex(trace) in spans  # it goes on from the caller's


def test_an_address_that_is_taken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(sys, "argv", ["lamina", "serve", "bundle", "--port", str(taken.getsockname()[1])])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code == 2
    assert "Address already in use" in capsys.readouterr().err


def made(client: httpx.Client) -> float:
    line = next((line for line in client.get("/metrics").text.splitlines() if line.startswith("lamina_call_requests_total")), "x 0")
    return float(line.split()[1])


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--host", "0.0.0.0"], 1, "all who reach 0.0.0.0 could ask: set LAMINA_TOKEN, give --token-file, or say --open"),
        (["--tls-cert", "cert.pem"], 1, "a certificate and its key go together"),
        (["--token-file", "empty"], 1, "empty holds no token: one line of printable ASCII"),
    ],
)
def test_what_is_refused_at_the_start(
    arguments: list[str], code: int, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lamina", "serve", "bundle", *arguments])
    Path("empty").touch()
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    assert expected in " ".join(capsys.readouterr().err.split())
