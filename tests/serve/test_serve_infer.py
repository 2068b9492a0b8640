"""Inference over REST: every dtype both ways, what is refused, and what it says."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import handmade
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from serving import INFER, LENGTH, X, client, in_bytes, in_json, scale
from starlette.testclient import TestClient

KINDS = {
    "FP64": (np.float64, [0.1, -1e300]),
    "FP32": (np.float32, [0.5, -3.25]),
    "FP16": (np.float16, [0.5, -3.25]),
    "BF16": (ml_dtypes.bfloat16, [0.5, -3.25]),
    "INT64": (np.int64, [2**63 - 1, -(2**63)]),
    "INT32": (np.int32, [2**31 - 1, -(2**31)]),
    "INT16": (np.int16, [32767, -32768]),
    "INT8": (np.int8, [127, -128]),
    "UINT8": (np.uint8, [255, 0]),
    "BOOL": (np.bool_, [True, False]),
}


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server of a model that gives back an input of each dtype."""
    shapes = {kind: (np.dtype(dtype).name, ["N", 2]) for kind, (dtype, _) in KINDS.items()}
    nodes = [helper.make_node("Identity", [kind], [f"out{kind}"]) for kind in KINDS]
    data = handmade.model(nodes, shapes, {f"out{kind}": shape for kind, shape in shapes.items()})
    tensors = [{"name": kind, "dtype": dtype, "shape": shape} for kind, (dtype, shape) in shapes.items()]
    outputs = [tensor | {"name": f"out{tensor['name']}"} for tensor in tensors]
    folder = handmade.write(tmp_path_factory.mktemp("echo") / "echo", {"model.onnx": data}, inputs=tensors, outputs=outputs)
    with client(folder) as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server of `scale` with small limits."""
    with client(scale(tmp_path_factory.mktemp("server")), limits={"body": 4096, "json": 2048, "answer": 60}) as found:
        yield found


def test_every_dtype_in_json(echo: TestClient) -> None:
    answer = echo.post("/v2/models/echo/infer", json=in_json(**{kind: (kind, [values]) for kind, (_, values) in KINDS.items()}))
    assert answer.status_code == 200
    for tensor in answer.json()["outputs"]:
        kind = tensor["name"].removeprefix("out")
        assert (tensor["datatype"], tensor["shape"], tensor["data"]) == (kind, [1, 2], KINDS[kind][1])


def test_every_dtype_as_bytes(echo: TestClient) -> None:
    arrays = {kind: (kind, np.array([values], dtype)) for kind, (dtype, values) in KINDS.items()}
    body, headers = in_bytes(**arrays)
    answer = echo.post("/v2/models/echo/infer", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers[LENGTH])
    assert answer.content[size:] == b"".join(array.tobytes() for _, array in arrays.values())
    sizes = [tensor["parameters"]["binary_data_size"] for tensor in json.loads(answer.content[:size])["outputs"]]
    assert sizes == [array.nbytes for _, array in arrays.values()]


def test_outputs_are_chosen_and_written_one_by_one(echo: TestClient) -> None:
    wanted = [{"name": "outINT8", "parameters": {"binary_data": True}}, {"name": "outBOOL"}]
    request = in_json(**{kind: (kind, [values]) for kind, (_, values) in KINDS.items()}) | {"outputs": wanted, "id": "seven"}
    answer = echo.post("/v2/models/echo/versions/1/infer", json=request)
    head = json.loads(answer.content[: int(answer.headers[LENGTH])])
    assert head["id"] == "seven"
    assert head["outputs"] == [
        {"name": "outINT8", "shape": [1, 2], "datatype": "INT8", "parameters": {"binary_data_size": 2}},
        {"name": "outBOOL", "shape": [1, 2], "datatype": "BOOL", "data": [True, False]},
    ]
    assert answer.content.endswith(b"\x7f\x80")


def test_metadata(server: TestClient) -> None:
    assert server.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert server.get("/v2/health/live").status_code == server.get("/v2/health/ready").status_code == 200
    model = server.get("/v2/models/scale").json()
    assert model["versions"] == ["1"]
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert model["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]
    assert server.get("/v2/models/scale/versions/1/ready").status_code == 200
    for path in ("/v2/models/scales", "/v2/models/scale/versions/2", "/v2/models/..%2f..%2fetc/ready", "/v2/nothing"):
        assert server.get(path).status_code == 404
    assert server.get("/v2/models/scales").json() == {"error": "there is no model `scales`; there are scale"}


ONE = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
BAD: list[tuple[Any, int, list[str]]] = [
    ([], 400, ["the body must be a JSON object"]),
    ({}, 400, ["`inputs` must be a list of tensors"]),
    ({"inputs": [3]}, 400, ["`inputs` must be a list of tensors"]),
    ({"inputs": [ONE, ONE]}, 400, ["`x` stands twice"]),
    ({"inputs": [ONE | {"name": "z"}]}, 400, ["`z` is not an input; the inputs are x: float32[N, 3]", "nothing was given for `x`"]),
    (
        {"inputs": [ONE | {"datatype": "FP64", "shape": [9, 4]}], "outputs": [{"name": "z"}], "id": 3},
        400,
        [
            "`x` has datatype 'FP64', wanted FP32: float32[N, 3]",
            "`x` has shape [9, 4], wanted float32[N, 3]: axis 0 is 9, and N must be 1 to 8",
            "`x` has shape [9, 4], wanted float32[N, 3]: axis 1 is 4, must be 3",
            "`z` is not an output; the outputs are y",
            "`id` must be a string of at most 200 characters",
        ],
    ),
    ({"inputs": [ONE | {"shape": [1, -3]}]}, 400, ["`x` needs `shape`, a list of sizes"]),
    ({"inputs": [ONE | {"shape": [True, 3]}]}, 400, ["`x` needs `shape`, a list of sizes"]),
    ({"inputs": [ONE | {"shape": [2**62, 2**62]}]}, 400, ["`x` needs `shape`, a list of sizes"]),
    ({"inputs": [ONE | {"data": [1, 2]}]}, 400, ["`x` has shape [1, 3] and data of shape [2]"]),
    ({"inputs": [ONE | {"data": [[1, 2], [3]]}]}, 400, ["`x` holds `data` that is no array: its lists are ragged"]),
    ({"inputs": [ONE | {"data": ["1", "2", "3"]}]}, 400, ["`data` holds <U1, which cannot stand for `x: float32[N, 3]`"]),
    ({"inputs": [ONE | {"data": [None, 2, 3]}]}, 400, ["`data` holds object, which cannot stand for"]),
    ({"inputs": [ONE | {"data": [1e300, 2, 3]}]}, 400, ["`data` holds values that do not fit `x: float32[N, 3]`"]),
    ({"inputs": [ONE | {"data": {"path": "/etc/passwd"}}]}, 400, ["`x` needs `data`, a list of numbers"]),
    ({"inputs": [ONE], "parameters": {"adapter": "formal"}}, 400, ["`formal` is not an adapter of this model; it has none"]),
    ({"inputs": [ONE | {"shape": [8, 3], "data": [0] * 24}]}, 413, ["the outputs would have 96 bytes, and an answer may have 60"]),
    ({"inputs": [ONE | {"data": [0] * 1000}]}, 413, ["the JSON has", "2048 are read"]),
]


@pytest.mark.parametrize(("request_", "status", "expected"), BAD, ids=[expected[0][:40] for _, _, expected in BAD])
def test_every_mistake_is_named(server: TestClient, request_: Any, status: int, expected: list[str]) -> None:
    answer = server.post(INFER, json=request_)
    assert answer.status_code == status
    for line in expected:
        assert line in answer.json()["error"]


HEAD = {"name": "x", "shape": [2, 3], "datatype": "FP32"}


def as_bytes(size: Any, tail: bytes, length: str | None = None, **changes: Any) -> tuple[bytes, dict[str, str]]:
    head = json.dumps({"inputs": [HEAD | {"parameters": {"binary_data_size": size}} | changes]}).encode()
    return head + tail, {LENGTH: length or str(len(head))}


MALFORMED = [
    (as_bytes(24, b""), "`x` has binary_data_size 24, and 0 bytes are left behind the JSON"),
    (as_bytes(20, bytes(20)), "`x` has 20 bytes, and float32[2, 3] has 24"),
    (as_bytes(24, bytes(25)), "1 bytes follow the tensors"),
    (as_bytes(-1, bytes(24)), "`x` has binary_data_size -1"),
    (as_bytes("24", bytes(24)), "`x` has binary_data_size '24'"),
    (as_bytes(24, bytes(24), data=[1]), "and has `data` too"),
    (as_bytes(24, bytes(24), length="99999"), "Inference-Header-Content-Length is '99999'"),
    (as_bytes(24, bytes(24), length="-1"), "Inference-Header-Content-Length is '-1'"),
    (as_bytes(24, bytes(24), length="1"), "the body is not JSON"),
    (as_bytes(24, bytes(24), length="9" * 5000), "Inference-Header-Content-Length is '999"),
    (as_bytes(24, bytes(24), shape=[0, 2**62]), "axis 0 is 0, and N must be 1 to 8"),
    ((b"[" * 2000, {}), "the body is not JSON"),
    ((b"\xff\xfe", {}), "the body is not JSON"),
    ((b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [NaN, 1, 2]}]}', {}), "NaN is no number in JSON"),
    ((b'{"inputs": ' + b"1" * 1500 + b"}", {}), "`inputs` must be a list"),
]


@pytest.mark.parametrize(("sent", "expected"), MALFORMED, ids=[expected[:40] for _, expected in MALFORMED])
def test_malformed_bytes(server: TestClient, sent: tuple[bytes, dict[str, str]], expected: str) -> None:
    answer = server.post(INFER, content=sent[0], headers=sent[1])
    assert (answer.status_code, expected in answer.json()["error"]) == (400, True), answer.text


def test_bytes_of_booleans_are_zero_or_one(echo: TestClient) -> None:
    arrays = {kind: (kind, np.array([values], dtype)) for kind, (dtype, values) in KINDS.items()}
    body, headers = in_bytes(**arrays)
    answer = echo.post("/v2/models/echo/infer", content=body[:-1] + b"\x02", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "`BOOL` is of booleans, whose bytes are 0 or 1")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_body_breaks_the_server(server: TestClient, data: st.DataObject) -> None:
    """A good request with bytes changed, cut or added, and any length of its JSON."""
    body, headers = in_bytes(x=("FP32", X))
    changed = bytearray(body)
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255)), max_size=4)):
        changed[at] = byte
    cut = data.draw(st.integers(0, len(body)))
    length = data.draw(st.sampled_from([headers[LENGTH], *map(str, range(0, 200, 20)), "x", ""]))
    answer = server.post(INFER, content=bytes(changed[:cut]) + data.draw(st.binary(max_size=8)), headers={LENGTH: length})
    assert answer.status_code in (200, 400)


def test_large_bodies_are_refused_unread(server: TestClient) -> None:
    answer = server.post(INFER, content=bytes(5000))
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert server.post(INFER, content=iter([bytes(3000), bytes(3000)])).status_code == 413
    assert server.post(INFER, content=b"", headers={"Content-Encoding": "gzip"}).status_code == 415


def test_what_json_cannot_hold(server: TestClient) -> None:
    x = np.float32([[3e38, 0, 1]])  # twice that is infinite
    answer = server.post(INFER, json=in_json(x=("FP32", x)))
    assert (answer.status_code, "the output `y` holds values that are not finite" in answer.json()["error"]) == (422, True)
    body, headers = in_bytes(x=("FP32", x))
    answer = server.post(INFER, content=body, headers=headers)
    assert struct.unpack("<3f", answer.content[-12:]) == (np.inf, 0, 2)
