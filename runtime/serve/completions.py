"""Completions, and answers in a conversation, as OpenAI's clients read them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from lamina.runtime.errors import InputError
from lamina.runtime.generation.generate import GivenPrompts
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.texts import Generated, Piece
from lamina.runtime.serve.openai_schema import ChatRequest, CompletionRequest
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.settings import Limits

_REASONS: Mapping[str, str] = {"eos": "stop", "stop": "stop", "length": "length", "room": "length"}


def prompts_of(asked: CompletionRequest, limits: Limits) -> GivenPrompts:
    """Texts, or lists of tokens. Refused (413): more texts or characters than a request may have."""
    given = asked.prompt
    prompts: Any = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    if len(prompts) * asked.n > limits.texts:
        raise Refused(
            413, f"{len(prompts)} prompts with {asked.n} texts each are {len(prompts) * asked.n}, and {limits.texts} may be asked for"
        )
    if (size := sum(map(len, prompts))) > limits.text:
        raise Refused(413, f"the prompts have {size} characters or tokens, and a request may have {limits.text}")
    return prompts  # type: ignore[no-any-return]


def messages_of(asked: ChatRequest, limits: Limits) -> list[dict[str, str]]:
    """A conversation, as a chat template takes it. Refused (413): more texts or characters than a request may have."""
    if asked.n > limits.texts:
        raise Refused(413, f"{asked.n} texts are asked for, and {limits.texts} may be")
    if (size := sum(len(message.text) for message in asked.messages)) > limits.text:
        raise Refused(413, f"the messages have {size} characters, and a request may have {limits.text}")
    return [{"role": message.role, "content": message.text} for message in asked.messages]


def most_of(asked: ChatRequest, limits: Limits) -> int:
    """How many tokens the next message has at most. Refused (400) where both names of it are given."""
    if asked.max_tokens is not None and asked.max_completion_tokens is not None:
        raise Refused(400, "`max_tokens` is the old name of `max_completion_tokens`; give one of them")
    return asked.max_completion_tokens or asked.max_tokens or limits.tokens


def options_of(asked: CompletionRequest | ChatRequest, tokens: int, limits: Limits) -> Generation:
    """How to generate so many tokens at most. Refused (400) for options that will not do, all at once."""
    if tokens > limits.tokens:
        raise Refused(400, f"`max_tokens` is {tokens}, and at most {limits.tokens} may be asked for")
    options: dict[str, Any] = {
        "max_new_tokens": tokens, "temperature": asked.temperature, "repetition_penalty": asked.repetition_penalty,
        "num_return": asked.n, "seed": asked.seed, "stop": asked.stop or (),
    }  # fmt: skip
    if asked.temperature > 0:
        options |= {"top_p": None if asked.top_p == 1 else asked.top_p, "top_k": asked.top_k, "min_p": asked.min_p}
    try:
        return Generation.of(options)
    except InputError as error:
        raise Refused(400, str(error)) from None


@final
@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is written: what its id begins with, what kinds of objects the whole and its parts are, and what says their texts;
    of a part, whether it is a text's first.
    """

    prefix: str
    whole: str
    part: str
    says: Callable[[str], dict[str, Any]]
    adds: Callable[[str, bool], dict[str, Any]]


COMPLETION = Form("cmpl", "text_completion", "text_completion", lambda text: {"text": text}, lambda text, first: {"text": text})
CHAT = Form(
    "chatcmpl",
    "chat.completion",
    "chat.completion.chunk",
    lambda text: {"message": {"role": "assistant", "content": text}},
    lambda text, first: {"delta": ({"role": "assistant"} if first else {}) | {"content": text}},
)


@final
@dataclass(slots=True)
class Completion:
    """One answer: its parts while they come, and its end."""

    asked: CompletionRequest | ChatRequest
    form: Form
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    ended: list[Generated] = field(default_factory=list)
    begun: set[tuple[int, int]] = field(default_factory=set)

    def part(self, piece: Piece) -> dict[str, Any]:
        """What a piece adds, as one event."""
        reason = None
        if piece.whole is not None:
            self.ended.append(piece.whole)
            reason = _REASONS[piece.whole.finish]
        first = (text := (piece.prompt, piece.sample)) not in self.begun
        self.begun.add(text)
        return self._answer(self.form.part, [self._choice(piece, self.form.adds(piece.text, first), reason)])

    def whole(self) -> dict[str, Any]:
        """All the texts, in order."""
        texts = sorted(self.ended, key=lambda text: (text.prompt, text.sample))
        return (
            self._answer(self.form.whole, [self._choice(one, self.form.says(one.text), _REASONS[one.finish]) for one in texts])
            | self.usage()
        )

    def usage(self) -> dict[str, Any]:
        """Tokens of each prompt once, and of every text."""
        prompts = sum({text.prompt: text.prompt_tokens for text in self.ended}.values())
        made = sum(len(text.ids) for text in self.ended)
        return {"usage": {"prompt_tokens": prompts, "completion_tokens": made, "total_tokens": prompts + made}}

    def last(self) -> dict[str, Any]:
        """The event that counts tokens."""
        return self._answer(self.form.part, []) | self.usage()

    def _choice(self, text: Piece | Generated, said: dict[str, Any], reason: str | None) -> dict[str, Any]:
        return {"index": text.prompt * self.asked.n + text.sample, **said, "logprobs": None, "finish_reason": reason}

    def _answer(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        name = f"{self.form.prefix}-{self.id}"
        return {"id": name, "object": kind, "created": self.created, "model": self.asked.model, "choices": choices}
