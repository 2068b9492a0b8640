"""Inference as OpenAPI describes it: the bodies are read without pydantic, so that tensors of bytes cost nothing."""

from __future__ import annotations

from typing import Any

from lamina.runtime.serve.datatypes import DATATYPES, TEXT
from lamina.runtime.serve.write_infer import LENGTH

_TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": [*DATATYPES.values(), TEXT]},
        "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer", "minimum": 0}}},
        "data": {"type": "array", "items": {}},
    },
}
_OUTPUT: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
    },
}
_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": 200},
        "parameters": {
            "type": "object",
            "properties": {"binary_data_output": {"type": "boolean"}, "adapter": {"type": "string", "maxLength": 200}},
        },
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {"type": "array", "items": _OUTPUT},
    },
}
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_REFUSALS = {
    "400": "The request will not do; every mistake is named",
    "404": "There is no such model or version",
    "413": "The request or its answer is too large",
    "415": "The body is compressed",
    "422": "JSON cannot hold the answer",
    "503": "Too many requests wait; Retry-After says when to come back",
    "504": "The answer did not come in time",
}
NO_MODEL: dict[int | str, dict[str, Any]] = {404: {"description": _REFUSALS["404"], "content": {"application/json": {"schema": ERROR}}}}
OPENAI_REFUSALS: dict[int | str, dict[str, Any]] = {int(status): {"description": what} for status, what in _REFUSALS.items()}
_LENGTH = "The bytes of JSON before tensors that are sent as bytes."
INFER: dict[str, Any] = {
    "parameters": [{"name": LENGTH, "in": "header", "required": False, "schema": {"type": "string"}, "description": _LENGTH}],
    "requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}, "application/octet-stream": {}}},
    "responses": {
        "200": {
            "description": "The outputs",
            "content": {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": {}},
        },
        **{status: {"description": what, "content": {"application/json": {"schema": ERROR}}} for status, what in _REFUSALS.items()},
    },
}
