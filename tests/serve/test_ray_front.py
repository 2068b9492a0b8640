"""The server in front of replicas, without a cluster: what it hands over, what it asks again, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve.exceptions import BackPressureError
from serving import INFER, X, in_json, scale
from starlette.testclient import TestClient

from lamina.runtime.ray.asgi import Asked, Part, answered
from lamina.runtime.ray.front import front
from lamina.runtime.serve.app import application
from lamina.runtime.serve.guard import App, Message, Receive, Scope, Send
from lamina.runtime.serve.settings import Limits, Settings

ASK = in_json(x=("FP32", X))


class Handle:
    """A handle of one replica, which answers by an application; before that come `errors`, one for each time that it is asked."""

    def __init__(self, app: App, errors: list[Exception] | None = None, after: int = 0) -> None:
        self.app, self.errors, self.after = app, errors or [], after
        self.asked: list[Asked] = []

    def remote(self, asked: Asked) -> Parts:
        self.asked.append(asked)
        return Parts(self, asked, self.errors.pop(0) if self.errors else None)


class Parts:
    """As Ray Serve's generators: it is iterated and cancelled. An error comes after some parts."""

    def __init__(self, handle: Handle, asked: Asked, error: Exception | None) -> None:
        self.parts, self.error, self.after = answered(handle.app, asked), error, handle.after

    async def __aiter__(self) -> AsyncIterator[Part]:
        count = 0
        if self.error is not None and not self.after:
            raise self.error
        async for part in self.parts:
            yield part
            count += 1
            if self.error is not None and count == self.after:
                raise self.error

    def cancel(self) -> None:
        self.closing = asyncio.ensure_future(self.parts.aclose())


def lost() -> Exception:
    return ActorUnavailableError("the node went", None)


def client(handle: Handle, **settings: Any) -> TestClient:
    return TestClient(front(handle, Settings(**settings)), base_url="http://localhost", raise_server_exceptions=False)


def replica(tmp_path: Path) -> App:
    return application([scale(tmp_path)], Settings(poll=0, threads=1))


def test_an_answer_is_the_replicas(tmp_path: Path) -> None:
    app = replica(tmp_path)
    with TestClient(app, base_url="http://localhost") as direct, client(Handle(app)) as asking:
        for ask in (
            lambda by: by.post(INFER, json=ASK),
            lambda by: by.get("/v2/models/scale?a=b"),
            lambda by: by.get("/none"),
            lambda by: by.put(INFER),
        ):
            expected, found = ask(direct), ask(asking)
            assert (found.status_code, found.content) == (expected.status_code, expected.content)
            assert _plain(found) == _plain(expected)
        assert 'lamina_requests_total{route="/v2/models/{name}/infer",status="200"} 1.0' in asking.get("/metrics").text


def _plain(answer: Any) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in answer.headers.multi_items() if name != "x-request-id")


def test_a_request_is_asked_again_under_its_id(tmp_path: Path) -> None:
    handle = Handle(replica(tmp_path), [lost(), ActorDiedError(), lost()])
    with client(handle) as asking:
        answer = asking.post(INFER, json=ASK, headers={"X-Request-Id": "mine", "X-Request-Timeout": "9"})
    assert answer.json()["outputs"][0]["data"] == [0, 2, 4, 6, 8, 10]
    given = [dict(asked.headers) for asked in handle.asked]
    assert [headers[b"x-request-id"] for headers in given] == [b"mine"] * 4
    left = [float(headers[b"x-request-timeout"]) for headers in given]
    assert 9 >= left[0] > left[1] > left[2] > left[3] > 0
    assert len({asked.body for asked in handle.asked}) == 1


@pytest.mark.parametrize(
    ("errors", "status", "said"),
    [
        ([lost() for _ in range(8)], 503, "8 replicas were lost while they had this request"),
        ([BackPressureError(num_queued_requests=9, max_queued_requests=9)], 503, "as many requests wait for a replica as may"),
        ([ValueError("ours")], 500, "the server failed"),
    ],
)
def test_what_does_not_come_is_refused(tmp_path: Path, errors: list[Exception], status: int, said: str) -> None:
    with client(Handle(replica(tmp_path), errors)) as asking:
        answer = asking.post(INFER, json=ASK)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert (answer.headers.get("retry-after") == "1") == (status == 503)


def test_what_the_front_refuses_reaches_no_replica(tmp_path: Path) -> None:
    handle = Handle(replica(tmp_path))
    with client(handle, token="secret", limits=Limits(body=10)) as asking:
        assert asking.post(INFER, json=ASK).status_code == 401
        headers = {"Authorization": "Bearer secret"}
        assert asking.post(INFER, json=ASK, headers=headers).status_code == 413
        assert asking.get("/metrics").status_code == 401
        assert asking.get("/v2", headers=headers | {"X-Request-Timeout": "never"}).status_code == 400
    assert handle.asked == []


def in_parts(then: Callable[[Receive], Any]) -> App:
    """An application that answers one part, and then does something before the other."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await then(receive)
        await send({"type": "http.response.body", "body": b"two"})

    return app


def test_parts_are_handed_on_as_they_come() -> None:
    sent: list[bytes] = []

    async def until_one_was_sent(_: Receive) -> None:
        while not sent:  # waits for ever if the front waits for the end
            await asyncio.sleep(0.001)

    async def run() -> None:
        async def send(message: Message) -> None:
            sent.append(message.get("body", b""))

        await asyncio.wait_for(_get(front(Handle(in_parts(until_one_was_sent)), Settings()), send), 30)

    asyncio.run(run())
    assert b"".join(sent) == b"one two"


def test_an_answer_that_has_begun_is_not_asked_again() -> None:
    async def go_on(_: Receive) -> None:
        pass

    handle = Handle(in_parts(go_on), [lost()], after=1)
    sent: list[Message] = []

    async def run() -> None:
        async def send(message: Message) -> None:
            sent.append(message)

        await _get(front(handle, Settings()), send)

    asyncio.run(run())
    assert len(handle.asked) == 1
    assert [message.get("more_body") for message in sent] == [None, True]  # no end: the server closes the connection


def test_a_client_that_leaves_is_told_to_the_application() -> None:
    left: list[str] = []

    async def until_left(receive: Receive) -> None:
        left.append((await receive())["type"])

    async def run() -> None:
        async def send(message: Message) -> None:
            leaves.set()

        leaves = asyncio.Event()
        await _get(front(Handle(in_parts(until_left)), Settings()), send, leaves)
        await asyncio.sleep(0.05)

    asyncio.run(run())
    assert left == ["http.disconnect"]


async def _get(app: App, send: Send, leaves: asyncio.Event | None = None) -> None:
    """Ask an application; the client leaves when the event says."""
    given: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if given:
            return given.pop()
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [(b"host", b"localhost")]}
    await app(scope, receive, send)
