"""OpenAI's completions, of texts and of conversations, where a bundle writes texts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from lamina.runtime.errors import BackendMissing
from lamina.runtime.generation.chat import chat_prompts
from lamina.runtime.generation.generate import tokens_of
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.texts import Piece
from lamina.runtime.serve.completions import CHAT, COMPLETION, Completion, messages_of, most_of, options_of, prompts_of
from lamina.runtime.serve.decoder import Decoder, Read
from lamina.runtime.serve.events import Events
from lamina.runtime.serve.infer_schema import OPENAI_REFUSALS
from lamina.runtime.serve.openai_requests import body_of, parsed, served_as
from lamina.runtime.serve.openai_schema import ChatRequest, CompletionRequest
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.served import Served
from lamina.runtime.serve.server import Server, collected, log
from lamina.runtime.session import Session

_UNRENDERED: dict[int | str, dict[str, Any]] = {501: {"description": "The server lacks what renders chat templates"}}


def routes(server: Server) -> APIRouter:
    """Completions, and those of conversations; whole or, with `stream`, as server-sent events."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=OPENAI_REFUSALS)

    @router.post("/completions", openapi_extra=body_of(CompletionRequest), response_model=None)
    async def completions(request: Request) -> Response | dict[str, Any]:
        """Texts that prompts go on with."""
        async with server.bodies.of(request) as body:
            asked = parsed(CompletionRequest, body, server.settings.limits)
        async with AsyncExitStack() as held:
            served, decoder = _writer(request, server, asked.model, held)
            read = partial(tokens_of, prompts_of(asked, served.limits), decoder.vocabulary)
            options = options_of(asked, asked.max_tokens, served.limits)
            return await _answer(request, held, decoder, read, options, Completion(asked, COMPLETION))

    @router.post("/chat/completions", openapi_extra=body_of(ChatRequest), response_model=None, responses=_UNRENDERED)
    async def chat(request: Request) -> Response | dict[str, Any]:
        """The next message of a conversation, by the chat template that the bundle carries."""
        async with server.bodies.of(request) as body:
            asked = parsed(ChatRequest, body, server.settings.limits)
        async with AsyncExitStack() as held:
            served, decoder = _writer(request, server, asked.model, held)
            if served.manifest.tokenizer is None or served.manifest.tokenizer.chat_template is None:
                raise Refused(400, f"the model `{served.name}` carries no chat template; write a whole prompt, and ask /v1/completions")
            read = partial(_rendered, served.session, messages_of(asked, served.limits))
            options = options_of(asked, most_of(asked, served.limits), served.limits)
            return await _answer(request, held, decoder, read, options, Completion(asked, CHAT))

    return router


def _writer(request: Request, server: Server, name: str, held: AsyncExitStack) -> tuple[Served, Decoder]:
    """A model that writes texts, held open. Refused: 404, 400."""
    served = held.enter_context(served_as(server, name))
    log(request, model=served.name, version=served.version)
    if served.decoder is None:
        raise Refused(400, f"the model `{served.name}` writes no texts")
    return served, served.decoder


def _rendered(session: Session, messages: Sequence[dict[str, str]]) -> list[list[int]]:
    try:
        return chat_prompts(session, [messages])
    except BackendMissing as error:
        raise Refused(501, str(error)) from None


async def _answer(
    request: Request, held: AsyncExitStack, decoder: Decoder, read: Read, options: Generation, completion: Completion
) -> Response | dict[str, Any]:
    pieces = await held.enter_async_context(aclosing(decoder.pieces(read, options, request.state.deadline)))
    if not completion.asked.stream:
        return await collected(request, _whole(pieces, completion))
    first = await collected(request, _next(pieces))  # what is refused, is refused before an answer begins
    return Events(_events(first, pieces, completion), held.pop_all())


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
