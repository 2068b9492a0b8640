"""OpenAI's embeddings and completions, where a bundle carries a tokenizer."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError

from lamina.runtime.dtypes import Array
from lamina.runtime.generation.generate import tokens_of
from lamina.runtime.generation.texts import Piece
from lamina.runtime.serve.completions import Completion, options_of, prompts_of
from lamina.runtime.serve.events import Events
from lamina.runtime.serve.infer_schema import OPENAI_REFUSALS
from lamina.runtime.serve.openai_schema import CompletionRequest, EmbeddingRequest
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.served import Served
from lamina.runtime.serve.server import Server, answered, collected, log
from lamina.runtime.serve.settings import Limits

Asked = TypeVar("Asked", EmbeddingRequest, CompletionRequest)


def routes(server: Server) -> APIRouter:
    """Models, embeddings and completions."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=OPENAI_REFUSALS)

    @router.get("/models")
    async def models() -> dict[str, Any]:
        """Every model, by its name."""
        return {"object": "list", "data": [_model(name) for name in server.repository.models]}

    @router.get("/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        """One of them."""
        return _model(server.repository.served(name).name)

    @router.post("/embeddings", openapi_extra=_body(EmbeddingRequest))
    async def embeddings(request: Request) -> dict[str, Any]:
        """A vector for each text."""
        async with server.bodies.of(request) as body:
            asked = _parsed(EmbeddingRequest, body, server.settings.limits)
        with _served(server, asked.model) as served:
            log(request, model=served.name, version=served.version)
            return await _embeddings(request, served, asked)

    @router.post("/completions", openapi_extra=_body(CompletionRequest), response_model=None)
    async def completions(request: Request) -> Response | dict[str, Any]:
        """Texts that prompts go on with, whole or, with `stream`, as server-sent events."""
        async with server.bodies.of(request) as body:
            asked = _parsed(CompletionRequest, body, server.settings.limits)
        async with AsyncExitStack() as held:
            served = held.enter_context(_served(server, asked.model))
            log(request, model=served.name, version=served.version)
            if served.decoder is None:
                raise Refused(400, f"the model `{served.name}` writes no texts")
            read = partial(tokens_of, prompts_of(asked, served.limits), served.decoder.vocabulary)
            given = (read, options_of(asked, served.limits), request.state.deadline)
            pieces = await held.enter_async_context(aclosing(served.decoder.pieces(*given)))
            if not asked.stream:
                return await collected(request, _whole(pieces, Completion(asked)))
            first = await collected(request, _next(pieces))  # what is refused, is refused before an answer begins
            return Events(_events(first, pieces, Completion(asked)), held.pop_all())

    return router


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}


def _parsed(kind: type[Asked], body: bytes, limits: Limits) -> Asked:
    """Refused: 400, with all that is wrong; 413."""
    if len(body) > limits.json:
        raise Refused(413, f"the JSON has {len(body)} bytes, and {limits.json} are read")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)[:100]
        raise Refused(400, "\n".join(f"{_place(one['loc'])}{one['msg'][:500]}" for one in problems)) from None


def _place(parts: tuple[int | str, ...]) -> str:
    return f"`{'.'.join(map(str, parts))[:200]}`: " if parts else ""


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "lamina"}


def _served(server: Server, name: str) -> Served:
    model, colon, version = name.partition(":")
    return server.repository.served(model, version if colon else None)


async def _whole(pieces: AsyncIterator[Piece], completion: Completion) -> dict[str, Any]:
    async for piece in pieces:
        completion.part(piece)
    return completion.whole()


async def _next(pieces: AsyncIterator[Piece]) -> Piece:
    return await anext(pieces)


async def _events(first: Piece, pieces: AsyncIterator[Piece], completion: Completion) -> AsyncIterator[dict[str, Any]]:
    yield completion.part(first)
    async for piece in pieces:
        yield completion.part(piece)
    if completion.asked.stream_options is not None and completion.asked.stream_options.include_usage:
        yield completion.last()


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
