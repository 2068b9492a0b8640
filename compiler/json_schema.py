"""The JSON Schema of a spec file: an editor completes section names, ops and their arguments, and shows their docs."""

from __future__ import annotations

import inspect
from typing import Any

from lamina.compiler.elaborate.calls import weight_names
from lamina.compiler.op import Op, signature
from lamina.compiler.registry import find_op, op_names
from lamina.schema import spec as s
from lamina.schema.weights import WeightRules

_TEXT = {"type": "string"}
_VALUE: dict[str, Any] = {"type": ["number", "string", "boolean", "array", "null"]}
_TENSOR = {
    "type": "string",
    "pattern": r"^\s*(float|bfloat|int|uint|bool)\w*\s*\[.*\]\s*$",
    "description": "dtype[sizes], such as float32[N, 3, H, W]",
}


def spec_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a model file."""
    ops = {name: op for name in sorted(op_names()) if (op := find_op(name)) is not None}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lamina spec",
        "type": "object",
        "required": ["lamina", "model", "inputs", "body", "outputs"],
        "additionalProperties": False,
        "properties": _sections(),
        "$defs": {"flow": _flow(), "step": _step(ops), "block": _block(), "modules": _modules()},
    }


def _sections() -> dict[str, Any]:
    flow, mapping = {"$ref": "#/$defs/flow"}, {"type": "object"}
    return {
        "lamina": {"const": 1},
        "model": _TEXT,
        "summary": _TEXT,
        "paper": _model(s.Paper),
        "use": {"type": "array", "items": _TEXT},
        "config": mapping,
        "variants": {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
        "published": {"type": "object", "additionalProperties": _model(s.Published)},
        "inputs": {"type": "object", "additionalProperties": _TENSOR},
        "dims": {"type": "object", "additionalProperties": _model(s.DimDecl, "span")},
        "state": {"type": "object", "additionalProperties": _TENSOR},
        "modules": {"$ref": "#/$defs/modules"},
        "blocks": {"type": "object", "additionalProperties": {"$ref": "#/$defs/block"}},
        "body": flow,
        "outputs": {"type": "object", "additionalProperties": _TENSOR},
        "weights": _model(WeightRules, "span"),
        "preprocess": {"type": "object", "additionalProperties": _model(s.ImagePreprocess)},
        "tokenizer": _model(s.Tokenizer),
    }


def _model(model: type[Any], *hidden: str) -> dict[str, Any]:
    """A pydantic model's schema, inlined, without fields that a file does not hold."""
    own = {k: v for k, v in model.model_fields.items() if k not in hidden}
    full = {k: _field(model, k) for k in own}
    return {"type": "object", "additionalProperties": False, "properties": full, "required": [k for k, f in own.items() if f.is_required()]}


def _field(model: type[Any], name: str) -> dict[str, Any]:
    from pydantic import TypeAdapter

    field = model.model_fields[name]
    try:
        return TypeAdapter(field.annotation).json_schema()
    except Exception:  # a field of the schema's own classes: any value, the checker says more
        return {}


def _flow() -> dict[str, Any]:
    return {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/step"}}, {"$ref": "#/$defs/step"}]}


def _modules() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"$ref": "#/$defs/flow"}}


def _block() -> dict[str, Any]:
    properties = {
        "summary": _TEXT,
        "args": {"type": "object"},
        "inputs": {"type": "array", "items": _TEXT},
        "modules": {"$ref": "#/$defs/modules"},
        "body": {"$ref": "#/$defs/flow"},
        "result": {"type": ["string", "array"]},
    }
    return {"type": "object", "required": ["body"], "additionalProperties": False, "properties": properties}


def _step(ops: dict[str, type[Op]]) -> dict[str, Any]:
    """A statement, a structure, or a call. Other keys are the user's own blocks and modules."""
    flow = {"$ref": "#/$defs/flow"}
    structures: dict[str, Any] = {
        "residual": flow, "skip": flow, "do": flow, "then": flow, "else": flow, "repeat": _VALUE, "for": _TEXT, "if": _VALUE,
        "branches": {"type": "array", "items": flow}, "merge": {"enum": ["concat", "add", "mul", "list"]}, "dim": {"type": "integer"},
        "modules": {"$ref": "#/$defs/modules"}, "scan": {"type": "object"}, "iterate": {"type": "object"}, "map": {"type": "object"},
        "name": _TEXT,
    }  # fmt: skip
    calls = {name: _call(op) for name, op in ops.items()}
    names = {"type": "string", "examples": [*ops]}
    return {"anyOf": [names, {"type": "object", "properties": {**calls, **structures}}]}


def _call(op: type[Op]) -> dict[str, Any]:
    schema = op.model_json_schema()
    arguments = {k: {"anyOf": [v, {"type": "string"}]} | _kept(v) for k, v in schema.get("properties", {}).items()}
    inputs = dict.fromkeys((*signature(op).inputs[1:], *weight_names(op)), _VALUE)
    named = {"type": "object", "additionalProperties": False, "properties": {**inputs, **arguments}}
    found: dict[str, Any] = {"description": inspect.getdoc(op) or "", "anyOf": [named, _VALUE]}
    return found | ({"$defs": schema["$defs"]} if "$defs" in schema else {})


def _kept(schema: dict[str, Any]) -> dict[str, Any]:
    return {k: schema[k] for k in ("default", "description") if k in schema}
