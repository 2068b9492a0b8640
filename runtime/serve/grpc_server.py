"""The Open Inference Protocol, version 2, over gRPC. Needs the extra `grpc`."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, final

from lamina.runtime.errors import BackendMissing
from lamina.runtime.serve.metadata import SERVER, model_described
from lamina.runtime.serve.read_infer import asked_of
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.server import Server

try:
    import grpc
    from tritonclient.grpc import service_pb2 as messages

    from lamina.runtime.serve.grpc_messages import read_request, write_response
except ImportError as error:
    raise BackendMissing(f"the gRPC server cannot be imported ({error}); pip install lamina[grpc]") from error

Answer = Callable[[Server, Any, float], Awaitable[Any]]
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LARGEST = 16 * 2**20
_OPEN = ("ServerLive", "ServerReady")
_CODES: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_LOG = logging.getLogger("lamina.serve")


async def started(server: Server) -> Any:
    """A running `grpc.aio` server at the settings' port. OSError where that is not free."""
    settings, limits = server.settings, server.settings.limits
    largest = min(_LARGEST, limits.body)
    options = [("grpc.max_receive_message_length", largest), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    # grpc reads a message before we see it, so that only the number of messages bounds what all hold together.
    made = grpc.aio.server(options=options, maximum_concurrent_rpcs=min(limits.connections, max(1, limits.bodies // largest)))
    made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", _handlers(server)),))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    try:
        if settings.certificate is not None and settings.key is not None:
            pair = (settings.key.read_bytes(), settings.certificate.read_bytes())
            made.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        else:
            made.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"gRPC cannot listen on {address}: {error}") from error
    await made.start()
    _LOG.info("serving gRPC on %s", address)
    return made


def _handlers(server: Server) -> dict[str, Any]:
    answers: dict[str, Answer] = {
        "ServerLive": _live,
        "ServerReady": _ready,
        "ServerMetadata": _server,
        "ModelReady": _model_ready,
        "ModelMetadata": _model,
        "ModelInfer": _infer,
    }
    return {
        name: grpc.unary_unary_rpc_method_handler(
            _Method(server, name, answer).answer,  # grpc looks whether a function is a coroutine
            request_deserializer=getattr(messages, f"{name}Request").FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        for name, answer in answers.items()
    }


@final
class _Method:
    """One method: who asks, in what time, and what becomes of it, as the guard does over HTTP."""

    def __init__(self, server: Server, name: str, answer: Answer) -> None:
        self._server, self._name, self._answer = server, name, answer

    async def answer(self, request: Any, context: Any) -> Any:
        began, given, status = time.monotonic(), dict(context.invocation_metadata() or ()), 499
        sent = given.get("x-request-id", "")
        request_id = sent if _ID.fullmatch(sent) else uuid.uuid4().hex
        self._server.metrics.began()
        context.set_trailing_metadata((("x-request-id", request_id),))
        try:
            self._admit(given)
            answer = await self._answer(self._server, request, self._deadline(context, began))
            status = 200
            return answer
        except Refused as refused:
            status = refused.status
            await context.abort(_CODES.get(status, grpc.StatusCode.UNKNOWN), refused.message)
        except Exception:
            status = 500
            _LOG.exception("a request failed", extra={"request_id": request_id})
            await context.abort(grpc.StatusCode.INTERNAL, f"the server failed; its log has more of request {request_id}")
        finally:
            seconds = time.monotonic() - began
            self._server.metrics.ended(f"grpc/{self._name}", status, seconds)
            extra = {"request_id": request_id, "method": "grpc", "path": self._name, "status": status, "ms": round(seconds * 1000, 3)}
            _LOG.info("answered", extra=extra)

    def _admit(self, given: Mapping[str, Any]) -> None:
        token = self._server.settings.token
        said = str(given.get("authorization", "")).encode()
        if token is not None and self._name not in _OPEN and not hmac.compare_digest(said, b"Bearer " + token.encode()):
            raise Refused(401, "say who you are: the metadata authorization, Bearer TOKEN")

    def _deadline(self, context: Any, began: float) -> float:
        left = context.time_remaining()
        most = self._server.settings.limits.seconds
        return began + (most if left is None else min(most, left))


async def _live(server: Server, request: Any, deadline: float) -> Any:
    return messages.ServerLiveResponse(live=True)


async def _ready(server: Server, request: Any, deadline: float) -> Any:
    return messages.ServerReadyResponse(ready=server.repository.ready)


async def _server(server: Server, request: Any, deadline: float) -> Any:
    return messages.ServerMetadataResponse(**SERVER)


async def _model_ready(server: Server, request: Any, deadline: float) -> Any:
    try:
        server.repository.served(request.name, request.version or None)
    except Refused:
        return messages.ModelReadyResponse(ready=False)
    return messages.ModelReadyResponse(ready=True)


async def _model(server: Server, request: Any, deadline: float) -> Any:
    found = model_described(server.repository.served(request.name, request.version or None), server.repository)
    tensor = messages.ModelMetadataResponse.TensorMetadata
    return messages.ModelMetadataResponse(
        **{name: value for name, value in found.items() if name not in ("inputs", "outputs")},
        inputs=[tensor(**one) for one in found["inputs"]],
        outputs=[tensor(**one) for one in found["outputs"]],
    )


async def _infer(server: Server, request: Any, deadline: float) -> Any:
    with server.repository.served(request.model_name, request.model_version or None) as served:
        served.scheduler.admit(deadline)
        asked = asked_of(*read_request(request), served.manifest, served.limits)
        future = await served.submitted(asked, deadline)
        try:  # a client that leaves has this cancelled, and with it the future
            outputs = await asyncio.wait_for(future, max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise Refused(504, "the answer did not come in time") from None
        return write_response(served.name, served.version, asked, outputs)
