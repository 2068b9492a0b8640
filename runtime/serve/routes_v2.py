"""The Open Inference Protocol, version 2, over REST."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from lamina.runtime.serve.direct import DirectRoute
from lamina.runtime.serve.infer_schema import INFER, NO_MODEL
from lamina.runtime.serve.metadata import SERVER, model_described
from lamina.runtime.serve.read_infer import Asked, read_infer
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.served import Served
from lamina.runtime.serve.server import Server, answered, log
from lamina.runtime.serve.write_infer import LENGTH, write_infer

_MUCH_JSON = 2**17  # bytes that take longer than a change of threads


def routes(server: Server) -> APIRouter:
    """Health, metadata and inference."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    infer: dict[str, Any] = {"methods": ["POST"], "openapi_extra": INFER, "response_model": None, "route_class_override": DirectRoute}

    async def model_infer(request: Request, name: str) -> Response:
        """Outputs for inputs. With texts for the tokenizer, the input is called `text`, of datatype BYTES."""
        return await _infer(server, request, server.repository.served(name))

    async def version_infer(request: Request, name: str, version: str) -> Response:
        """The same of one version."""
        return await _infer(server, request, server.repository.served(name, version))

    # First, as routes are tried in order, and these are those whose time counts.
    router.add_api_route("/models/{name}/infer", model_infer, **infer)
    router.add_api_route("/models/{name}/versions/{version}/infer", version_infer, **infer)

    @router.get("")
    async def server_metadata() -> dict[str, Any]:
        """What this server is."""
        return SERVER

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether the server answers at all."""
        return {"live": True}

    @router.get("/health/ready", responses={503: {"description": "The server ends"}})
    async def ready(response: Response) -> dict[str, bool]:
        """Whether every model can be asked; 503 once the server ends."""
        response.status_code = 200 if server.repository.ready else 503
        return {"ready": server.repository.ready}

    @router.get("/models/{name}", responses=NO_MODEL)
    async def model_metadata(name: str) -> dict[str, Any]:
        """The inputs and outputs of a model's newest version; -1 is a size that may vary."""
        return model_described(server.repository.served(name), server.repository)

    @router.get("/models/{name}/versions/{version}", responses=NO_MODEL)
    async def version_metadata(name: str, version: str) -> dict[str, Any]:
        """The same of one version."""
        return model_described(server.repository.served(name, version), server.repository)

    @router.get("/models/{name}/ready", responses=NO_MODEL)
    async def model_ready(name: str) -> dict[str, Any]:
        """Whether a model can be asked; 404 if not."""
        return {"name": server.repository.served(name).name, "ready": True}

    @router.get("/models/{name}/versions/{version}/ready", responses=NO_MODEL)
    async def version_ready(name: str, version: str) -> dict[str, Any]:
        """Whether a version can be asked; 404 if not."""
        return {"name": server.repository.served(name, version).name, "ready": True}

    return router


async def _infer(server: Server, request: Request, served: Served) -> Response:
    log(request, model=served.name, version=served.version)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "the body is compressed; send it as it is")
    served.scheduler.admit(request.state.deadline)
    with served:
        async with server.bodies.of(request) as body:
            return await _answer(request, served, body, request.headers.get(LENGTH))


async def _answer(request: Request, served: Served, body: bytes, length: str | None) -> Response:
    asked = await _read(served, body, length)
    outputs = await answered(request, await served.submitted(asked, request.state.deadline))
    written = (served.name, served.version, asked, outputs)
    in_json = sum(outputs[name].nbytes for name in asked.outputs if name not in asked.binary)
    content, headers = await asyncio.to_thread(write_infer, *written) if in_json > _MUCH_JSON else write_infer(*written)
    return Response(content, headers=headers)


async def _read(served: Served, body: bytes, length: str | None) -> Asked:
    given = (body, length, served.manifest, served.limits)
    much = len(body) if length is None else int(length) if length.isdecimal() and len(length) < 20 else 0
    return await asyncio.to_thread(read_infer, *given) if much > _MUCH_JSON else read_infer(*given)
