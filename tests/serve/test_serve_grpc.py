"""The Open Inference Protocol over gRPC, asked by Triton's own client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from serving import TABLE, Held, X, client, free_port, pooled, scale, vectors
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException


@contextmanager
def asking(*folders: Path, **settings: Any) -> Iterator[tuple[triton.InferenceServerClient, Any]]:
    """Triton's client of a server in this process, and a bare stub."""
    port = free_port()
    with client(*folders, grpc_port=port, **settings) as http, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        found = triton.InferenceServerClient(f"127.0.0.1:{port}")
        yield found, service_pb2_grpc.GRPCInferenceServiceStub(channel)
        found.close()
        assert http.get("/v2/health/live").status_code == 200


def tensor(name: str, kind: str, array: Any) -> triton.InferInput:
    found = triton.InferInput(name, list(array.shape), kind)
    found.set_data_from_numpy(array)
    return found


def test_triton_asks(tmp_path: Path) -> None:
    with asking(scale(tmp_path), pooled(tmp_path)) as (ask, stub):
        assert ask.is_server_live()
        assert ask.is_server_ready()
        assert ask.is_model_ready("scale")
        assert ask.is_model_ready("scale", "1")
        assert not ask.is_model_ready("scale", "2")
        assert not ask.is_model_ready("none")
        assert ask.get_server_metadata().name == "lamina"
        model = ask.get_model_metadata("scale")
        assert (list(model.versions), model.inputs[0].datatype, list(model.inputs[0].shape)) == (["1"], "FP32", [-1, 3])

        answer = ask.infer("scale", [tensor("x", "FP32", X)], request_id="seven")
        np.testing.assert_array_equal(answer.as_numpy("y"), 2 * X)
        assert answer.get_response().id == "seven"

        texts = np.array([b"the cat", b"mat"], np.object_)
        answer = ask.infer("pooled", [tensor("text", "BYTES", texts)], outputs=[triton.InferRequestedOutput("embedding")])
        np.testing.assert_allclose(answer.as_numpy("embedding"), vectors("the cat", "mat"))
        assert answer.as_numpy("words") is None

        ids = np.array([[2, 3]])
        answer = ask.infer("pooled", [tensor("ids", "INT64", ids), tensor("mask", "INT64", np.ones_like(ids))])
        np.testing.assert_array_equal(answer.as_numpy("words"), TABLE[ids])

        request = messages.ModelInferRequest(model_name="scale")
        request.inputs.add(name="x", datatype="FP32", shape=[1, 3]).contents.fp32_contents.extend([1, 2, 3])
        (raw,) = stub.ModelInfer(request).raw_output_contents
        assert np.frombuffer(raw, np.float32).tolist() == [2, 4, 6]


def refused(call: Any, *given: Any, **named: Any) -> tuple[str, str]:
    with pytest.raises((InferenceServerException, grpc.RpcError)) as caught:
        call(*given, **named)
    error = caught.value
    if isinstance(error, InferenceServerException):
        return str(error.status()), error.message()
    return str(error.code()), error.details()


def test_what_is_refused(tmp_path: Path) -> None:
    with asking(scale(tmp_path), limits={"body": 2000}) as (ask, stub):
        code, message = refused(ask.infer, "scale", [tensor("x", "FP64", np.zeros((9, 4)))])
        assert code == "StatusCode.INVALID_ARGUMENT"
        assert message.splitlines() == [
            "`x` has datatype 'FP64', wanted FP32: float32[N, 3]",
            "`x` has shape [9, 4], wanted float32[N, 3]: axis 0 is 9, and N must be 1 to 8",
            "`x` has shape [9, 4], wanted float32[N, 3]: axis 1 is 4, must be 3",
        ]
        assert refused(ask.infer, "none", [tensor("x", "FP32", X)])[0] == "StatusCode.NOT_FOUND"
        assert refused(ask.get_model_metadata, "none")[0] == "StatusCode.NOT_FOUND"
        assert refused(ask.infer, "scale", [tensor("x", "FP32", np.zeros((400, 3), np.float32))])[0] == "StatusCode.RESOURCE_EXHAUSTED"
        assert refused(stub.ModelStatistics, messages.ModelStatisticsRequest())[0] == "StatusCode.UNIMPLEMENTED"
        for raw in ([], [b"1"], [b"", b""], [bytes(12), bytes(12)]):
            request = messages.ModelInferRequest(model_name="scale", raw_input_contents=raw)
            request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
            assert refused(stub.ModelInfer, request)[0] == "StatusCode.INVALID_ARGUMENT"
        negative = messages.ModelInferRequest(model_name="scale", raw_input_contents=[b""])
        negative.inputs.add(name="x", datatype="FP32", shape=[-1, 3])
        assert refused(stub.ModelInfer, negative) == ("StatusCode.INVALID_ARGUMENT", "`x` needs `shape`, a list of sizes")


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    with asking(scale(tmp_path), token="s3cret") as (ask, _):
        assert ask.is_server_live()
        for headers in (None, {"authorization": "Bearer no"}):
            assert refused(ask.infer, "scale", [tensor("x", "FP32", X)], headers=headers)[0] == "StatusCode.UNAUTHENTICATED"
            assert refused(ask.get_model_metadata, "scale", headers=headers)[0] == "StatusCode.UNAUTHENTICATED"
        answer = ask.infer("scale", [tensor("x", "FP32", X)], headers={"authorization": "Bearer s3cret"})
        np.testing.assert_array_equal(answer.as_numpy("y"), 2 * X)


def test_an_answer_that_comes_too_late_and_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with asking(scale(tmp_path), limits={"seconds": 0.1}) as (ask, stub):
        held = Held(monkeypatch)
        assert refused(ask.infer, "scale", [tensor("x", "FP32", X)])[0] == "StatusCode.DEADLINE_EXCEEDED"
        held.may.set()
        _, call = stub.ServerLive.with_call(messages.ServerLiveRequest(), metadata=(("x-request-id", "abc"),))
        assert dict(call.trailing_metadata())["x-request-id"] == "abc"
