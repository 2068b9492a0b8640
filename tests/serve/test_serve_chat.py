"""Conversations as OpenAI's clients hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import client
from small_decoders import alone, decoder, with_template
from starlette.testclient import TestClient

from lamina.runtime import BackendMissing, Session
from lamina.runtime.serve import routes_texts

# Who speaks is a number: 1 for the user, 2 for the model, 3 for a system.
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('there are no tools') }}{% endif %}"
    "{{ {'user': '1', 'assistant': '2', 'system': '3'}[message.role] }} {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}2{% endif %}"
)
TALK = [
    {"role": "system", "content": "40 41"},
    {"role": "user", "content": [{"type": "text", "text": "5 "}, {"type": "text", "text": "6"}]},
    {"role": "assistant", "content": "7"},
    {"role": "user", "content": "8 9"},
]
PROMPT = [3, 40, 41, 1, 5, 6, 2, 7, 1, 8, 9, 2]  # by hand
ASK = {"model": "attention", "messages": TALK, "temperature": 0, "max_completion_tokens": 6}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_template(decoder(tmp_path_factory.mktemp("chat"), "attention"), TEMPLATE)


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client(bundle, decoder(tmp_path_factory.mktemp("plain"), "counted"), limits={"text": 200, "tokens": 30}) as found:
        yield found


def expected(bundle: Path, **options: Any) -> Any:
    with Session(bundle, threads=1) as session:
        return alone(session, PROMPT, **options)


def test_the_next_message(server: TestClient, bundle: Path) -> None:
    answer = server.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    (choice,) = found["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": expected(bundle, max_new_tokens=6).text},
        "logprobs": None,
        "finish_reason": "length",
    }
    assert (found["object"], found["id"][:9], found["model"]) == ("chat.completion", "chatcmpl-", "attention")
    assert found["usage"] == {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18}


def test_a_stream(server: TestClient, bundle: Path) -> None:
    answer = server.post("/v1/chat/completions", json=ASK | {"stream": True, "stream_options": {"include_usage": True}})
    parts = answer.text.split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    events = [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert "".join(delta["content"] for delta in deltas) == expected(bundle, max_new_tokens=6).text
    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None] * (len(deltas) - 1) + ["length"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["total_tokens"] == 18


def test_options(server: TestClient, bundle: Path) -> None:
    drawn = server.post("/v1/chat/completions", json=ASK | {"temperature": 1.2, "seed": 9, "top_k": 5, "n": 2}).json()
    first = expected(bundle, max_new_tokens=6, temperature=1.2, seed=9, top_k=5).text
    assert [choice["index"] for choice in drawn["choices"]] == [0, 1]
    assert drawn["choices"][0]["message"]["content"] == first
    del (longest := dict(ASK))["max_completion_tokens"]
    assert server.post("/v1/chat/completions", json=longest).json()["usage"]["completion_tokens"] == 30


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "counted"}, 400, "the model `counted` carries no chat template; write a whole prompt, and ask /v1/completions"),
    ({"model": "none"}, 404, "there is no model `none`"),
    ({"messages": []}, 400, "`messages`: List should have at least 1 item"),
    ({"messages": [{"role": "user", "content": "1", "name": "a"}]}, 400, "`messages.0.name`: Extra inputs are not permitted"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "text": ""}]}]}, 400, "`messages.0.content"),
    ({"messages": [{"role": "tool", "content": "1"}]}, 400, "the chat template refuses the messages: there are no tools"),
    ({"messages": [{"role": "user", "content": "1" * 201}]}, 413, "the messages have 201 characters, and a request may have 200"),
    ({"messages": [{"role": "user", "content": "1 " * 70}]}, 400, "prompt 0 has 72 tokens, and the model has room for 64"),
    ({"tools": []}, 400, "`tools`: Extra inputs are not permitted"),
    ({"n": 17}, 413, "17 texts are asked for, and 16 may be"),
    ({"max_tokens": 3}, 400, "`max_tokens` is the old name of `max_completion_tokens`; give one of them"),
    ({"max_completion_tokens": 31}, 400, "and at most 30 may be asked for"),
]


@pytest.mark.parametrize(("change", "status", "message"), REFUSED, ids=[one[2][:40] for one in REFUSED])
def test_every_mistake_is_named(server: TestClient, change: dict[str, Any], status: int, message: str) -> None:
    answer = server.post("/v1/chat/completions", json=ASK | change)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_without_what_renders_templates(server: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise BackendMissing("jinja2 cannot be imported; pip install lamina[chat]")

    monkeypatch.setattr(routes_texts, "chat_prompts", missing)
    answer = server.post("/v1/chat/completions", json=ASK)
    assert (answer.status_code, answer.json()["error"]["message"]) == (501, "jinja2 cannot be imported; pip install lamina[chat]")
