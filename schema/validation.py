"""A section of a file as a pydantic model, pydantic's complaints as diagnostics at their places."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lamina.schema.diagnostics import Collector, Fault, Span, did_you_mean
from lamina.schema.tree import Mapping, Node, Scalar, Sequence, plain

M = TypeVar("M", bound=BaseModel)
Loc = tuple[int | str, ...]


def validated(
    model: type[M],
    node: Node | None,
    collector: Collector,
    extra: dict[str, Any] | None = None,
    code: str = "type",
    data: dict[str, Any] | None = None,
) -> M | None:
    """The section as a model; None (and every diagnostic) when it is not one. `extra` are fields that no file says, `data` is what the
    section says where that is more than plain data."""
    if node is None:
        return None
    if not isinstance(node, Mapping):
        collector.error("type", "this must be a mapping", node.span)
        return None
    given = {key.text: plain(value) for key, value in node} if data is None else data
    try:
        return model.model_validate({**given, **(extra or {})})
    except ValidationError as error:
        for problem in error.errors():
            collector.add(_fault(problem, node, model, extra or {}, code).at(node.span))
        return None


def _fault(problem: Any, node: Mapping, model: type[BaseModel], hidden: dict[str, Any], code: str) -> Fault:
    loc: Loc = (problem.get("ctx") or {}).get("loc") or problem["loc"]
    is_key = bool(loc) and loc[-1] == "[key]"
    place, span = _descend(node, loc[:-1] if is_key else loc)
    key = str(loc[-1]) if loc else ""
    if problem["type"] == "extra_forbidden":
        known = [f for f in _fields(model, loc[:-1]) if f not in hidden]
        return Fault("unknown-key", f"`{key}` is not a key here", span, did_you_mean(key, known) or f"the keys are {', '.join(known)}")
    if problem["type"] == "missing":
        return Fault("missing-key", f"`{key}` is missing", place.span, f"add `{key}:`")
    if problem["type"] in ("value_error", "lamina"):  # a validator of ours: its message says everything
        return Fault(code, problem["msg"].removeprefix("Value error, "), span if is_key else place.span)
    given = f", but it is `{place.text}`" if isinstance(place, Scalar) else ""
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return Fault("type", f"`{key}`: {message}{given}", place.span)


def _descend(node: Node, loc: Loc) -> tuple[Node, Span]:
    """The node that a complaint is about, and the span of its key."""
    span = node.span
    for part in loc:
        if isinstance(node, Mapping) and part in node.keys:
            key, node = next((k, v) for k, v in node if k.text == part)
            span = key.span
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            span = node.span
    return node, span


def _fields(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys that may stand at a place inside a model."""
    root = model.model_json_schema()
    current = root
    for part in loc:
        inner = current.get("properties", {}).get(part) or current.get("additionalProperties") or current.get("items") or {}
        references = [o["$ref"] for o in inner.get("anyOf", [inner]) if "$ref" in o]
        current = root["$defs"][references[0].split("/")[-1]] if references else inner
    return list(current.get("properties", {}))
