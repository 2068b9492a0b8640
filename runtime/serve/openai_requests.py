"""What the requests of OpenAI's clients share: how they are described and read, and which model they ask."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.served import Served
from lamina.runtime.serve.server import Server
from lamina.runtime.serve.settings import Limits

Asked = TypeVar("Asked", bound=BaseModel)


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """How a body of this kind is described."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}


def parsed(kind: type[Asked], body: bytes, limits: Limits) -> Asked:
    """A body of this kind. Refused: 400, with all that is wrong; 413."""
    if len(body) > limits.json:
        raise Refused(413, f"the JSON has {len(body)} bytes, and {limits.json} are read")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)[:100]
        raise Refused(400, "\n".join(f"{_place(one['loc'])}{one['msg'][:500]}" for one in problems)) from None


def _place(parts: tuple[int | str, ...]) -> str:
    return f"`{'.'.join(map(str, parts))[:200]}`: " if parts else ""


def served_as(server: Server, name: str) -> Served:
    """The model of a name, or of `NAME:VERSION`. Refused: 404."""
    model, colon, version = name.partition(":")
    return server.repository.served(model, version if colon else None)
