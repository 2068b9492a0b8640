"""Embeddings and completions as OpenAI's clients ask for them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from serving import client, pooled, scale, vectors
from starlette.testclient import TestClient
from tokenizers import Tokenizer, models, pre_tokenizers

import lamina
from lamina.runtime.stream import Stream

COUNTER = """
lamina: 1
model: counter
inputs: {tokens: "int64[N, T]"}
dims: {N: {min: 1, opt: 2, max: 16}, T: {min: 1, opt: 1, max: 4}}
state: {count: "float32[N]"}
body:
  - count = count + 1
  - next = cast(tokens[:, -1], 'float32') + count
  - -abs(cast(arange(200), 'float32') - next[:, None])
outputs: {logits: "float32[N, 200]"}
tokenizer: {ids: tokens}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Models `pooled`, `scale`, and `counter`: its n-th token is the one before it and n, so that 5 goes on with 6 8 11 15."""
    folder = tmp_path_factory.mktemp("openai")
    (folder / "counter.yaml").write_text(COUNTER)
    words = Tokenizer(models.WordLevel({f"{i}": i for i in range(200)}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    counter = lamina.compile(lamina.load(folder / "counter.yaml"), folder / "counter", ["onnxruntime"])
    with client(counter, pooled(folder), scale(folder), limits={"batch": 4, "text": 200, "tokens": 50}) as found:
        yield found


def embed(server: TestClient, given: Any, **more: Any) -> Any:
    answer = server.post("/v1/embeddings", json={"model": "pooled", "input": given} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_models(server: TestClient) -> None:
    assert [model["id"] for model in server.get("/v1/models").json()["data"]] == ["counter", "pooled", "scale"]
    assert server.get("/v1/models/pooled").json()["object"] == "model"
    assert server.get("/v1/models/none").json()["error"]["message"] == "there is no model `none`; there are counter, pooled, scale"


def test_embeddings(server: TestClient) -> None:
    texts = ["the cat sat on a mat", "the", "a cat", "unheard", "sat on the mat", "cat cat"]  # more than one call takes
    found = embed(server, texts)
    np.testing.assert_allclose([one["embedding"] for one in found["data"]], vectors(*texts), rtol=1e-6)
    assert [one["index"] for one in found["data"]] == [0, 1, 2, 3, 4, 5]
    assert found["usage"] == {"prompt_tokens": 16, "total_tokens": 16}
    (one,) = embed(server, "a cat", encoding_format="base64")["data"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(one["embedding"]), np.float32), vectors("a cat")[0])


def test_texts_are_an_input_of_inference(server: TestClient) -> None:
    texts = ["the cat", "mat"]
    request = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": texts}], "outputs": [{"name": "embedding"}]}
    answer = server.post("/v2/models/pooled/infer", json=request).json()
    np.testing.assert_allclose(np.reshape(answer["outputs"][0]["data"], (2, 2)), vectors(*texts))
    tail = b"".join(len(text).to_bytes(4, "little") + text.encode() for text in texts)
    request["inputs"] = [{"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(tail)}}]
    head = json.dumps(request).encode()

    def sent(tail: bytes) -> Any:
        return server.post("/v2/models/pooled/infer", content=head + tail, headers={"Inference-Header-Content-Length": str(len(head))})

    assert sent(tail).json()["outputs"] == answer["outputs"]
    request["inputs"] = [{"name": "text", "datatype": "BYTES", "shape": [17], "data": ["a"] * 17}]
    assert server.post("/v2/models/pooled/infer", json=request).json()["error"] == "there are 17 texts, and the model takes at most 16"
    for wrong in (b"\xff" * len(tail), tail[:-1] + b"\xff", bytes(len(tail))):
        assert sent(wrong).status_code == 400


def complete(server: TestClient, prompt: Any, **more: Any) -> Any:
    answer = server.post("/v1/completions", json={"model": "counter", "prompt": prompt, "temperature": 0, "max_tokens": 4} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_completions(server: TestClient) -> None:
    found = complete(server, ["5", "7"])
    assert [choice["text"] for choice in found["choices"]] == ["6 8 11 15", "8 10 13 17"]
    assert [choice["finish_reason"] for choice in found["choices"]] == ["length", "length"]
    assert found["usage"] == {"prompt_tokens": 2, "completion_tokens": 8, "total_tokens": 10}
    assert complete(server, [5])["choices"][0]["text"] == complete(server, [[5]])["choices"][0]["text"] == "6 8 11 15"
    unequal = complete(server, ["1", "1 2"], max_tokens=1)["choices"]  # which are read one by one: the model takes no mask
    assert [choice["text"] for choice in unequal] == ["2", "3"]
    (stopped,) = complete(server, "5", stop="11")["choices"]
    assert (stopped["text"].split(), stopped["finish_reason"]) == (["6", "8"], "stop")
    drawn = [complete(server, "5", temperature=2.0, n=3, seed=7, top_k=3)["choices"] for _ in range(2)]
    assert [choice["index"] for choice in drawn[0]] == [0, 1, 2]
    assert drawn[0] == drawn[1]


def events(text: str) -> list[Any]:
    parts = text.split("\n\n")
    assert parts[-1] == ""
    assert parts[-2] == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


def test_a_stream(server: TestClient) -> None:
    request = {
        "model": "counter:1",
        "prompt": "5",
        "temperature": 0,
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with server.stream("POST", "/v1/completions", json=request) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = events(answer.read().decode())
    assert "".join(event["choices"][0]["text"] for event in found[:-1]) == "6 8 11 15"
    assert [event["choices"][0]["finish_reason"] for event in found[:-1]] == [None, None, None, "length"]
    assert found[-1]["usage"]["total_tokens"] == 5
    assert 'lamina_tokens_total{model="counter",version="1"}' in server.get("/metrics").text


EMBED, COMPLETE = {"model": "pooled"}, {"model": "counter", "prompt": "1"}
REFUSED: list[tuple[str, dict[str, Any], int, list[str]]] = [
    ("embeddings", {"model": "counter", "input": "a"}, 400, ["the model `counter` makes no vectors of texts"]),
    ("embeddings", {"model": "none", "input": "a"}, 404, ["there is no model `none`"]),
    ("embeddings", {"model": "pooled:2", "input": "a"}, 404, ["the model `pooled` has no version 2; it has 1"]),
    ("embeddings", EMBED | {"input": []}, 400, ["List should have at least 1 item"]),
    ("embeddings", EMBED | {"input": "a" * 201}, 413, ["the texts have 201 characters, and a request may have 200"]),
    ("embeddings", {"model": 3, "path": "/etc/passwd"}, 400, ["`model`:", "`input`: Field required", "`path`: Extra inputs are not"]),
    ("completions", COMPLETE | {"model": "pooled"}, 400, ["the model `pooled` writes no texts"]),
    ("completions", COMPLETE | {"max_tokens": 51}, 400, ["`max_tokens` is 51, and at most 50 may be asked for"]),
    ("completions", COMPLETE | {"n": 17}, 413, ["1 prompts with 17 texts each are 17, and 16 may be asked for"]),
    ("completions", COMPLETE | {"stream": True, "n": 2, "temperature": 0}, 400, ["`num_return` is 2"]),
    ("completions", COMPLETE | {"prompt": ""}, 400, ["prompt 0 is empty"]),
    ("completions", COMPLETE | {"echo": True, "presence_penalty": 1}, 400, ["`echo`: Extra inputs", "`presence_penalty`:"]),
]


@pytest.mark.parametrize(("route", "request_", "status", "expected"), REFUSED, ids=[one[3][0][:40] for one in REFUSED])
def test_every_mistake_is_named(server: TestClient, route: str, request_: dict[str, Any], status: int, expected: list[str]) -> None:
    answer = server.post(f"/v1/{route}", json=request_)
    assert answer.status_code == status
    for line in expected:
        assert line in answer.json()["error"]["message"]


def test_a_text_that_takes_too_long(server: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    may, whole = threading.Event(), Stream.__call__

    def held(stream: Stream, **inputs: Any) -> Any:
        assert may.wait(10)
        return whole(stream, **inputs)

    monkeypatch.setattr(Stream, "__call__", held)
    request = {"model": "counter", "prompt": "5"}
    answer = server.post("/v1/completions", json=request, headers={"X-Request-Timeout": "0.05"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "server_error")
    may.set()
    assert complete(server, "5")["choices"][0]["text"] == "6 8 11 15"


def test_a_stream_that_breaks_says_so(server: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = Stream.__call__, [0]

    def breaks(stream: Stream, **inputs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise RuntimeError("secret")
        return whole(stream, **inputs)

    monkeypatch.setattr(Stream, "__call__", breaks)
    answer = server.post("/v1/completions", json={"model": "counter", "prompt": "5", "temperature": 0, "stream": True})
    found = events(answer.text)
    assert [event["choices"][0]["text"] for event in found[:-1]] == ["6", " 8"]
    assert found[-1]["error"]["type"] == "server_error"
    assert "secret" not in answer.text
