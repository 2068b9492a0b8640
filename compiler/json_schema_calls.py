"""The JSON Schema of calls: for every op its arguments, their types and defaults, and what its documentation says of each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from lamina.compiler.elaborate.weights import weight_names
from lamina.compiler.elaborate.words import expected
from lamina.compiler.op import Op, block_arguments, signature

Json = dict[str, Any]

EXPRESSION: Json = {"type": ["string", "number"]}
_TENSOR: Json = {"type": ["string", "number", "array"]}
_SENTENCE = re.compile(r"(?<=[.;])\s+(?=[`A-Za-z])|\n\n")


def call(op: type[Op]) -> Json:
    """What may stand after `op:` in a step: arguments by name, or the first one alone."""
    arguments = {name: _argument(op, name, field) for name, field in op.model_json_schema().get("properties", {}).items()}
    tensors = {name: _tensor(op, name) for name in (*signature(op).inputs, *weight_names(op)) if name not in arguments}
    named = {"type": "object", "additionalProperties": False, "properties": {**arguments, **tensors, "name": {"type": "string"}}}
    first = next(iter(arguments.values()), None)
    alone = [{k: v for k, v in first.items() if k != "default"}] if first else []
    return {"description": inspect.getdoc(op) or "", "anyOf": [named, *alone, {"type": "null"}]}


def plain_names(ops: Mapping[str, type[Op]]) -> Json:
    """A step that is a text: the name of an op, or any statement."""
    found = [{"const": name, "description": (inspect.getdoc(op) or "").split("\n\n")[0]} for name, op in ops.items()]
    return {"anyOf": [*found, {"type": "string", "description": "A statement: `x * sigmoid(gate)`, `q, k = split(x, 2)`."}]}


def tidy(schema: Any) -> Any:
    """Without the titles that pydantic makes up."""
    if isinstance(schema, list):
        return [tidy(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {k: tidy(v) for k, v in schema.items() if not (k == "title" and isinstance(v, str))}


def _argument(op: type[Op], name: str, field: Json) -> Json:
    kept = {"default": field["default"]} if "default" in field else {}
    options = (
        [{"$ref": "#/$defs/flow"}] if name in block_arguments(op) else _options(tidy({k: v for k, v in field.items() if k != "default"}))
    )
    kind = expected(op, name)
    text = f"{kind[:1].upper()}{kind[1:]}{'' if kept else '; required'}. {_said(op, name)}"
    return {"anyOf": options, "description": text.strip(), **kept}


def _tensor(op: type[Op], name: str) -> Json:
    kind = "A weight, given as a value" if name in weight_names(op) else "An input"
    return _TENSOR | {"description": f"{kind}. {_said(op, name)}".strip()}


def _options(schema: Json) -> list[Json]:
    """What may stand where a value is due: one of its kinds, or an expression that gives it; so for the elements of a list."""
    kinds = [dict(kind) for kind in schema.get("anyOf", [schema])]
    for kind in kinds:
        if kind.get("type") == "array" and "items" in kind:
            kind["items"] = {"anyOf": _options(kind["items"])}
    return kinds if {"type": "string"} in kinds else [*kinds, {"type": "string"}]


def _said(op: type[Op], name: str) -> str:
    """The sentences of the op's documentation that name an argument."""
    sentences = [" ".join(text.split()) for text in _SENTENCE.split(inspect.getdoc(op) or "") if not text.startswith("Source")]
    return " ".join(text for text in sentences if re.search(rf"\b{name}\b", text))
