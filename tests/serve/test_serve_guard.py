"""What every request goes through: tokens, hosts, ids, time, logs and metrics."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import INFER, Held, X, client, in_bytes, in_json, scale

from lamina.runtime import Session
from lamina.runtime.serve.logs import JsonFormatter

GOOD = in_json(x=("FP32", X))


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    with client(scale(tmp_path), token="s3cret") as server:
        for headers in (
            {},
            {"Authorization": "Bearer s3cre"},
            {"Authorization": "s3cret"},
            {"Authorization": "Bearer s3cret\x80".encode("latin-1")},
        ):
            for path in ("/v2", "/metrics", "/openapi.json", "/v1/models", "/v2/models/scale"):
                answer = server.get(path, headers=headers)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert server.post(INFER, json=GOOD, headers=headers).status_code == 401
        assert server.post(INFER, json=GOOD, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert server.get("/v2/health/live").status_code == server.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""])
def test_another_name_for_this_machine_is_refused(tmp_path: Path, host: str) -> None:
    with client(scale(tmp_path)) as server:
        assert server.get("/v2", headers={"Host": host}).status_code == 421
        for known in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"):
            assert server.get("/v2", headers={"Host": known}).status_code == 200
    with client(scale(tmp_path), host="0.0.0.0") as server:
        assert server.get("/v2", headers={"Host": "models.example"}).status_code == 200


def test_a_page_of_another_site_cannot_ask(tmp_path: Path) -> None:
    with client(scale(tmp_path)) as server:
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            assert server.post(INFER, json=GOOD, headers={"Sec-Fetch-Site": site}).status_code == status
        assert server.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link to the page
        assert server.get(INFER).headers["allow"] == "POST"


def test_ids_come_back_and_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with client(scale(tmp_path)) as server, caplog.at_level(logging.INFO, "lamina.serve"):
        assert server.post(INFER, json=GOOD, headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
        made = server.get("/v2/nothing", headers={"X-Request-Id": "a b\x00"}).headers["x-request-id"]
        assert len(made) == 32
    infer, nothing = (json.loads(JsonFormatter().format(record)) for record in caplog.records if record.message == "answered")
    del infer["ms"], infer["time"]
    expected = {"logger": "lamina.serve", "level": "info", "message": "answered", "request_id": "abc-1", "method": "POST"}
    assert infer == expected | {"path": INFER, "status": 200, "model": "scale", "version": "1"}
    assert (nothing["request_id"], nothing["status"]) == (made, 404)


def test_metrics(tmp_path: Path) -> None:
    with client(scale(tmp_path)) as server:
        for _ in range(3):
            server.post(INFER, json=GOOD)
        server.get("/v2/models/..%2fx")
        server.get("/<script>")
        text = server.get("/metrics").text
    assert 'lamina_requests_total{route="/v2/models/{name}/infer",status="200"} 3.0' in text
    assert 'lamina_call_rows_sum{model="scale",version="1"} 6.0' in text
    assert 'lamina_call_requests_total{model="scale",version="1"} 3.0' in text
    assert 'lamina_waiting_requests{model="scale",version="1"} 0.0' in text
    assert "script" not in text


def test_an_answer_that_comes_too_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(scale(tmp_path)) as server:
        held = Held(monkeypatch)
        body, headers = in_bytes(x=("FP32", X))
        answer = server.post(INFER, content=body, headers=headers | {"X-Request-Timeout": "0.05"})
        assert (answer.status_code, answer.json()["error"]) == (504, "the answer did not come in time")
        held.may.set()
        assert server.post(INFER, content=body, headers=headers | {"X-Request-Timeout": "5"}).status_code == 200
        for wrong in ("0", "-1", "soon", "1e3", "nan"):
            assert server.post(INFER, content=body, headers=headers | {"X-Request-Timeout": wrong}).status_code == 400


def test_what_a_full_queue_refuses_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body, headers = in_bytes(x=("FP32", X))
    with client(scale(tmp_path), limits={"queue": 1, "batch": 1}) as server, ThreadPoolExecutor(2) as threads:
        held = Held(monkeypatch)
        asked = [threads.submit(server.post, INFER, content=body, headers=headers) for _ in range(2)]
        while 'lamina_waiting_requests{model="scale",version="1"} 1.0' not in server.get("/metrics").text:
            assert not any(one.done() for one in asked)
        answer = server.post(INFER, content=b"no request")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        held.may.set()
        assert [one.result().status_code for one in asked] == [200, 200]


def test_bodies_share_what_room_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body, headers = in_bytes(x=("FP32", X))
    with client(scale(tmp_path), limits={"bodies": len(body) + 10}) as server:
        held = Held(monkeypatch)
        first = threading.Thread(target=server.post, args=(INFER,), kwargs={"content": body, "headers": headers})
        first.start()
        assert held.began.wait(10)
        answer = server.post(INFER, content=body, headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        held.may.set()
        first.join()
        assert server.post(INFER, content=body, headers=headers).status_code == 200


def test_a_failing_model_is_a_fault_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **options: object) -> None:
        raise RuntimeError("secret of the machine")

    with client(scale(tmp_path)) as server:
        monkeypatch.setattr(Session, "run", fail)
        answer = server.post(INFER, json=GOOD)
        assert answer.status_code == 500
        assert "secret" not in answer.text
    assert "secret of the machine" in caplog.text
