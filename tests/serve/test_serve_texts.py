"""Requests for texts that are written together: what each gets, who leaves, what is refused, and what the page and the metrics say."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from paced import paced
from serving import client
from small_decoders import decoder
from starlette.testclient import TestClient

import lamina
from lamina.runtime import Session, generate
from lamina.runtime.serve.probe_texts import TextJoining, probed_texts

ASKS: list[dict[str, Any]] = [
    {"prompt": [5, 7, 9], "temperature": 0, "max_tokens": 14},
    {"prompt": [20, 21, 22, 23, 24, 25, 26], "temperature": 1.4, "seed": 3, "max_tokens": 9},
    {"prompt": [8], "temperature": 2.0, "top_p": 0.8, "seed": 7, "max_tokens": 20},
    {"prompt": [90, 2, 33, 1], "temperature": 0, "repetition_penalty": 1.5, "max_tokens": 11},
    {"prompt": [[3, 4], [60, 61, 62]], "temperature": 1.0, "top_k": 5, "seed": 11, "n": 2, "max_tokens": 6},
    {"prompt": [1, 2], "temperature": 0.7, "min_p": 0.01, "seed": 4, "max_tokens": 16},
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("texts")
    return [decoder(folder / name, name) for name in ("attention", "recurrent", "counted", "mixed")]


@pytest.fixture(scope="module")
def server(bundles: list[Path]) -> Iterator[TestClient]:
    with client(*bundles, limits={"batch": 6}) as found:
        yield found


def ask(server: TestClient, model: str, request: dict[str, Any], **headers: str) -> Any:
    return server.post("/v1/completions", json={"model": model} | request, headers=headers)


def texts(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [choice["text"] for choice in answer.json()["choices"]]


def alone(bundle: Path, request: dict[str, Any]) -> list[str]:
    """The texts by `generate`, prompt by prompt."""
    options = {name: value for name, value in request.items() if name not in ("prompt", "max_tokens", "n")}
    options |= {"max_new_tokens": request["max_tokens"], "num_return": request.get("n", 1)}
    prompts = request["prompt"] if isinstance(request["prompt"][0], list) else [request["prompt"]]
    with Session(bundle, threads=1) as session:
        return [one.text for prompt in prompts for one in generate(session, [prompt], **options)]


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("model", ["attention", "recurrent"])
def test_requests_at_a_time_get_what_they_get_alone(server: TestClient, bundles: list[Path], model: str) -> None:
    (bundle,) = (one for one in bundles if one.name == model)
    expected = [alone(bundle, request) for request in ASKS]
    with ThreadPoolExecutor(len(ASKS)) as clients:
        for _ in range(3):
            found = clients.map(lambda request: texts(ask(server, model, request)), ASKS)
            assert list(found) == expected


def streamed(answer: Any) -> str:
    """The text that the events of a stream say together."""
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line.startswith("data: {")]
    return "".join(event["choices"][0]["text"] for event in events)


def test_streams_at_a_time(bundles: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with client(bundles[0]) as server, paced(monkeypatch) as steps, ThreadPoolExecutor(3) as clients:
        first = clients.submit(ask, server, "attention", ASKS[0] | {"stream": True})
        steps.until(3)
        others = [clients.submit(ask, server, "attention", ASKS[one] | {"stream": True}) for one in (1, 3)]
        eventually(lambda: 'lamina_waiting_requests{model="attention",version="1"} 2.0' in server.get("/metrics").text)
        steps.one_more()
        steps.free()
        found = [streamed(one.result()) for one in (first, *others)]
        metrics = server.get("/metrics").text
    assert steps.rows[:4] == [1, 1, 1, 3]
    assert f'lamina_step_rows_count{{model="attention",version="1"}} {float(len(steps.rows))}' in metrics
    assert found == [alone(bundles[0], ASKS[one])[0] for one in (0, 1, 3)]
    assert 'lamina_first_token_seconds_count{model="attention",version="1"} 3.0' in metrics
    tokens = sum(ASKS[one]["max_tokens"] for one in (0, 1, 3))
    assert f'lamina_tokens_total{{model="attention",version="1"}} {float(tokens)}' in metrics
    assert f'lamina_token_seconds_count{{model="attention",version="1"}} {float(tokens - 3)}' in metrics


def test_what_is_written_together_is_told(bundles: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lamina.serve")
    with client(*bundles, limits={"batch": 6}) as server:
        told = {model["name"]: model["texts_joined"] for model in server.get("/page/models").json()}
    assert told == {
        "attention": "up to 6",
        "recurrent": "up to 6",
        "counted": "one at a time: a state has no rows, or sizes of its own: `past.count: float32[]`",
        "mixed": "one at a time: a trial showed that texts change each other",
    }
    assert {record.model: record.texts_joined for record in caplog.records if record.message == "serving"} == told


def test_a_trial_tells_rounding_from_texts_that_change_each_other(bundles: list[Path], tmp_path: Path) -> None:
    spec = lamina.load(bundles[0].parent / "attention.yaml", small=True, tied=False)
    found = {}
    for precision in ("int8-dynamic", "int4"):  # one rounds by the range of all rows, the other each row by itself
        with Session(lamina.compile(spec, tmp_path / precision, ["onnxruntime"], precision=precision), threads=1) as session:
            found[precision] = probed_texts(session, 8)
    assert str(found["int8-dynamic"]) == "one at a time: a trial showed that texts change each other"
    assert (found["int4"].most, found["int4"].why) == (8, None)
    assert str(TextJoining(8, True, error=0.0084)) == "up to 8, rounded: scores differ by 0.8% from those alone"
    assert str(TextJoining(8, False, error=1e-7)) == "up to 8, prompts one by one"


def test_texts_that_cannot_be_written_together_are_written_apart(server: TestClient) -> None:
    request = {"prompt": [[5], [7], [5, 5]], "temperature": 0, "max_tokens": 4}
    with ThreadPoolExecutor(4) as clients:
        found = list(clients.map(lambda _: texts(ask(server, "counted", request)), range(4)))
    assert found == [["6 8 11 15", "8 10 13 17", "6 8 11 15"]] * 4


def test_a_bundle_is_exchanged_while_its_texts_are_written(
    bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lamina.serve")
    served, request = tmp_path / "models" / "attention", ASKS[0]
    shutil.copytree(bundles[0], served)
    spec = lamina.load(bundles[0].parent / "attention.yaml", small=True, tied=False)
    other = lamina.compile(spec, tmp_path / "other", ["onnxruntime"], seed=1)
    expected = [alone(bundle, request) for bundle in (bundles[0], other)]
    with client(tmp_path / "models", poll=0.02) as server, ThreadPoolExecutor(1) as clients:
        with paced(monkeypatch) as steps:
            old = clients.submit(ask, server, "attention", request)
            steps.until(2)
            monkeypatch.undo()  # the new bundle is tried when it is opened
            served.rename(tmp_path / "aside")
            shutil.copytree(other, tmp_path / "models" / ".new")
            (tmp_path / "models" / ".new").rename(served)
            eventually(lambda: "retiring" in caplog.text)
            assert texts(ask(server, "attention", request)) == expected[1]
            assert not old.done()
        assert texts(old.result()) == expected[0]


TOO_MUCH: list[tuple[dict[str, Any], int, str]] = [
    ({"prompt": [95, 96]}, 400, "a prompt holds the token 96, and the model's are 0 to 95"),
    ({"prompt": [1] * 65}, 400, "prompt 0 has 65 tokens, and the model has room for 64"),
]


@pytest.mark.parametrize(("request_", "status", "expected"), TOO_MUCH)
def test_what_will_not_do(server: TestClient, request_: dict[str, Any], status: int, expected: str) -> None:
    answer = ask(server, "attention", request_)
    assert answer.status_code == status
    assert expected in answer.json()["error"]["message"]
