"""OpenAI's models, and embeddings where a bundle carries a tokenizer."""

from __future__ import annotations

import base64
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, Request

from lamina.runtime.dtypes import Array
from lamina.runtime.serve.infer_schema import OPENAI_REFUSALS
from lamina.runtime.serve.openai_requests import body_of, parsed, served_as
from lamina.runtime.serve.openai_schema import CompletionRequest, EmbeddingRequest
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.served import Served
from lamina.runtime.serve.server import Server, answered, log

Asked = TypeVar("Asked", EmbeddingRequest, CompletionRequest)


def routes(server: Server) -> APIRouter:
    """Models and embeddings."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=OPENAI_REFUSALS)

    @router.get("/models")
    async def models() -> dict[str, Any]:
        """Every model, by its name."""
        return {"object": "list", "data": [_model(name) for name in server.repository.models]}

    @router.get("/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        """One of them."""
        return _model(server.repository.served(name).name)

    @router.post("/embeddings", openapi_extra=body_of(EmbeddingRequest))
    async def embeddings(request: Request) -> dict[str, Any]:
        """A vector for each text."""
        async with server.bodies.of(request) as body:
            asked = parsed(EmbeddingRequest, body, server.settings.limits)
        with served_as(server, asked.model) as served:
            log(request, model=served.name, version=served.version)
            return await _embeddings(request, served, asked)

    return router


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "lamina"}


async def _embeddings(request: Request, served: Served, asked: EmbeddingRequest) -> dict[str, Any]:
    output = served.embedding
    if output is None or served.texts is None:
        raise Refused(
            400,
            f"the model `{served.name}` makes no vectors of texts: one output of floats, [texts, size], from a tokenizer's inputs alone",
        )
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if (size := sum(map(len, texts))) > served.limits.text:
        raise Refused(413, f"the texts have {size} characters, and a request may have {served.limits.text}")
    data: list[dict[str, Any]] = []
    tokens = 0
    for first in range(0, len(texts), served.most_texts):
        arrays, answer = served.checked(await served.encoded(texts[first : first + served.most_texts]), None)
        tokens += served.tokens(arrays)
        outputs = await answered(request, served.scheduler.submit(arrays, None, answer, request.state.deadline))
        data += [_vector(len(data) + row, vector, asked.encoding_format) for row, vector in enumerate(outputs[output])]
    return {"object": "list", "data": data, "model": asked.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _vector(index: int, vector: Array, encoding: str) -> dict[str, Any]:
    numbers = vector.astype("<f4")
    if encoding == "base64":
        return {"object": "embedding", "index": index, "embedding": base64.b64encode(numbers.tobytes()).decode()}
    if not np.isfinite(numbers).all():
        raise Refused(422, f"the vector of text {index} holds values that are not finite, which JSON cannot hold; ask for base64")
    return {"object": "embedding", "index": index, "embedding": numbers.tolist()}
