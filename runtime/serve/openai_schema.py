"""Requests as OpenAI's clients write them. What is not here is refused by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_MOST = 2048
Text = Annotated[str, Field(max_length=2**20)]
Token = Annotated[int, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=2**16)]
Count = Annotated[int, Field(ge=1)]
No = Annotated[float, Field(ge=0, le=0)]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    model: Annotated[str, Field(max_length=200, description="A model's name; `name:version` is one of its versions.")]
    user: Text | None = None


class EmbeddingRequest(_Request):
    """Vectors for texts."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=_MOST)]
    encoding_format: Annotated[str, Field(pattern="^(float|base64)$")] = "float"


class StreamOptions(BaseModel):
    """`include_usage` adds an event that counts tokens."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    include_usage: bool = False


class _TextRequest(_Request):
    """How texts are to be written. `top_k`, `min_p` and `repetition_penalty` are Lamina's own, as in `lamina generate`."""

    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    n: Annotated[int, Field(ge=1)] = 1
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    presence_penalty: No = 0.0
    frequency_penalty: No = 0.0


class CompletionRequest(_TextRequest):
    """A text that goes on from another."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=_MOST)] | Tokens | list[Tokens]
    max_tokens: Count = 16


class TextPart(BaseModel):
    """A piece of what a message says."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    type: Annotated[str, Field(pattern="^text$")]
    text: Text


class Message(BaseModel):
    """What somebody says in a conversation. Who may is the chat template's to know."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=_MOST)]

    @property
    def text(self) -> str:
        """All that it says."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(_TextRequest):
    """The next message of a conversation, as long as it may be unless `max_completion_tokens` says (`max_tokens` is its old name)."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=_MOST)]
    max_completion_tokens: Count | None = None
    max_tokens: Count | None = None
