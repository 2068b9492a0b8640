"""What the benchmark of the server makes of its measurements, and its client against servers of a few lines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle

import numpy as np
import pytest

from benchmarks.serving.client import Found, Job, ask, complete
from benchmarks.serving.figures import at_most, percentile
from benchmarks.serving.models import LENGTH, Model, in_bytes, in_json


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 5), (51, 6), (90, 9), (99, 10), (100, 10)])
def test_percentiles_are_times_that_were_measured(percent: float, expected: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == expected
    with pytest.raises(ValueError, match="there are no times"):
        percentile([], percent)


def test_throughput_at_a_percentile() -> None:
    levels = [{"throughput": 10.0, "p99": 5.0}, {"throughput": 30.0, "p99": 50.0}, {"throughput": 20.0, "p99": 90.0}]
    assert [at_most(levels, limit) for limit in (4, 5, 60, 100)] == [None, 10, 30, 30]


def test_an_answer_is_complete_when_all_of_it_has_come() -> None:
    whole = b"HTTP/1.1 503 Service Unavailable\r\nserver: x\r\nContent-Length: 5\r\n\r\nab\r\nc"
    assert [complete(whole[:end]) for end in range(len(whole))] == [None] * len(whole)
    assert complete(whole) == 503
    with pytest.raises(ValueError, match="an answer without a length"):
        complete(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def test_requests_say_what_they_hold() -> None:
    request = in_bytes(Model("mlp"))
    head = int(request.headers[LENGTH])
    (tensor,) = json.loads(request.body[:head])["inputs"]
    values = np.frombuffer(request.body[head:], np.float32)
    assert (tensor["shape"], tensor["datatype"], tensor["parameters"]["binary_data_size"]) == ([1, 1024], "FP32", 4096)
    assert np.float32(json.loads(in_json(Model("mlp")).body)["inputs"][0]["data"]).tolist() == values.tolist()


@contextmanager
def server(*statuses: int, leaves: bool = False) -> Iterator[tuple[int, list[str | None]]]:
    """Takes 20 ms and answers with these statuses in turn; its port, and the ids that it was asked with.

    With `leaves`, it closes each connection after one answer, without saying so.
    """
    asked: list[str | None] = []
    following = cycle(statuses)  # two threads take from it, each the next

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.rfile.read(int(self.headers["Content-Length"])) == b"\x01\x02"
            asked.append(self.headers["X-Request-Id"])
            time.sleep(0.02)
            self.send_response(next(following))
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"abc")
            self.close_connection = leaves

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever).start()
        yield made.server_port, asked
        made.shutdown()


def found(port: int, **options: object) -> Found:
    given = {"connections": 2, "seconds": 20.0} | options
    return ask(Job(port, "/x", {"A": "b"}, "0102", **given))  # type: ignore[arg-type]


def test_the_client_counts_and_times_by_status() -> None:
    with server(200, 200, 503) as (port, _):
        done = found(port, requests=6)
    assert {status: len(times) for status, times in done.times.items()} == {"200": 4, "503": 2}
    assert min(done.answered) >= 20
    assert 0 < done.throughput < 4 / 0.06  # three turns of two connections
    assert 0 < done.processor < 1


def test_with_a_rate_times_are_from_when_a_request_was_due() -> None:
    with server(200) as (port, _):
        done = found(port, connections=1, requests=10, rate=1000.0)
    assert len(done.answered) == 10
    assert max(done.answered) > 150  # one connection takes 20 ms for each of the ten, which all were due in 10


def test_a_request_whose_connection_closes_is_sent_again() -> None:
    with server(200, leaves=True) as (port, asked):
        done = found(port, requests=5, connections=1, numbered=True)
    assert sorted(done.ids) == [0, 1, 2, 3, 4]
    assert {int(one) for one in asked if one is not None} == {0, 1, 2, 3, 4}
