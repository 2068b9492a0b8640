"""The JSON Schema of a spec file: an editor completes sections, ops and their arguments, and shows their documentation.

It is looser than the checker, never stricter: wherever a number or list is due an expression may stand, and a key of a step that is
not an op may be a block of the user's own.
"""

from __future__ import annotations

from typing import Any, get_args

from lamina.compiler.json_schema_calls import EXPRESSION, call, plain_names, tidy
from lamina.compiler.op import Op
from lamina.compiler.registry import find_op, op_names
from lamina.schema.dims import DTYPES, Precision
from lamina.schema.sections import DimDecl, ImagePreprocess, Paper, Published, Tokenizer
from lamina.schema.weights import WeightRules

Json = dict[str, Any]

_FLOW, _BLOCK, _MODULES, _CONFIG = ({"$ref": f"#/$defs/{name}"} for name in ("flow", "block", "modules", "config"))
_TEXT: Json = {"type": "string"}
_CONDITION: Json = {"type": ["boolean", "string"], "description": "Whether this config has it."}
_TRAIN: Json = {"type": "boolean", "default": False, "description": "Whether only PyTorch's module has it, in train mode."}
_INIT: Json = {"type": ["number", "boolean", "string"], "default": 0, "description": "What every place starts at."}
_PRECISION: Json = {"enum": list(get_args(Precision))}
_MODEL_SECTIONS = ["model", "inputs", "body", "outputs"]


def spec_schema() -> Json:
    """JSON Schema (draft 2020-12) of a model file, and of a block file."""
    ops = {name: op for name in sorted(op_names()) if (op := find_op(name)) is not None}
    definitions = {"flow": _flow(), "step": _step(ops), "names": plain_names(ops), "block": _block(), "modules": _modules()}
    definitions |= {"config": _config(), **{f"op.{name}": call(op) for name, op in ops.items()}}
    sections = _sections(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lamina spec",
        "type": "object",
        "required": ["lamina"],
        "additionalProperties": False,
        "properties": sections,
        "if": {"anyOf": [{"required": [key]} for key in (*_MODEL_SECTIONS, "base")]},
        "then": {"anyOf": [{"required": _MODEL_SECTIONS}, {"required": ["model", "base"]}]},
        "else": {"required": ["blocks"]},
        "$defs": definitions,
    }


def _sections(definitions: Json) -> Json:
    return {
        "lamina": {"const": 1, "description": "The version of the language."},
        "model": _TEXT | {"description": "The model's name."},
        "summary": _TEXT | {"description": "What the model is, in a sentence."},
        "paper": _model(Paper, definitions),
        "base": _TEXT | {"description": "A spec that this one goes on from: a name of the zoo, or a path that starts with `./`."},
        "use": {"type": "array", "items": _TEXT, "description": "Block files: names of the library, or paths that start with `./`."},
        "config": _named(_CONFIG, "Named values with their defaults; `--set` and variants override them."),
        "variants": _named({"type": ["object", "null"], "additionalProperties": _CONFIG}, "Sets of overrides of the config, by name."),
        "small": _named(_CONFIG, "Overrides of the config that make the model small, over any variant: for tests."),
        "published": _named(_model(Published, definitions), "Figures of the publication, by variant."),
        "inputs": _named(_port(), "The model's inputs, in order."),
        "dims": _named(_model(DimDecl, definitions), "The range of every dynamic size."),
        "state": _named(_state(), "Tensors that are carried from call to call."),
        "modules": _MODULES,
        "blocks": _named(_BLOCK, "Parts of the network, to be called like ops."),
        "adapt": _named(_FLOW, "Steps around those whose paths match a pattern, which they call as `step`."),
        "body": _FLOW | {"description": "The steps, in order."},
        "outputs": _named(
            _port({"train": _TRAIN}), "The model's outputs: variables of the body, or its last value where there is one output."
        ),
        "weights": _model(WeightRules, definitions),
        "precision": _named(
            _PRECISION, "What the weights of linear layers are kept in, by patterns of their paths; the first that matches counts."
        ),
        "preprocess": _named(_model(ImagePreprocess, definitions), "How image files become inputs."),
        "tokenizer": _model(Tokenizer, definitions),
    }


def _named(value: Json, description: str) -> Json:
    return {"type": "object", "additionalProperties": value, "description": description}


def _tensor() -> Json:
    dtypes = "|".join(sorted(DTYPES))
    return _TEXT | {"pattern": rf"^\s*({dtypes})\s*\[.*\]\s*$", "description": "dtype[sizes], such as float32[N, 3, H, W]"}


def _port(more: Json | None = None) -> Json:
    return {"anyOf": [_tensor(), _tensor_and({"if": _CONDITION, **(more or {})})]}


def _state() -> Json:
    return {"anyOf": [_tensor(), _tensor_and({"init": _INIT, "if": _CONDITION})]}


def _tensor_and(more: Json) -> Json:
    return {"type": "object", "required": ["type"], "additionalProperties": False, "properties": {"type": _tensor(), **more}}


def _model(model: type[Any], definitions: Json) -> Json:
    """A pydantic model's schema; the models in it go to the definitions. Places in the file are not something a user writes."""
    schema: Json = tidy(model.model_json_schema())
    inner = {k: v for k, v in schema.pop("$defs", {}).items() if k != "Span"}
    definitions |= inner
    schema["properties"].pop("span", None)
    schema["required"] = [key for key in schema.get("required", []) if key != "span"]
    return schema


def _config() -> Json:
    plain = {"type": ["number", "string", "boolean", "null"]}
    in_place = {"type": "object", "required": ["type", "default"], "properties": {"type": _TEXT, "default": _FLOW}}
    forms = [plain, {"type": "array", "items": _CONFIG}, {**in_place, "additionalProperties": False}]
    return {"anyOf": forms, "description": "A value, or a declaration such as `float = 4`."}


def _flow() -> Json:
    step = {"$ref": "#/$defs/step"}
    return {"anyOf": [{"type": "array", "items": step}, step]}


def _modules() -> Json:
    return _named(_FLOW, "Callables whose weights are made once and shared by every call.")


def _block() -> Json:
    properties = {
        "summary": _TEXT,
        "args": _named(_CONFIG, "Arguments: a type, a declaration such as `float = 4`, or a default."),
        "inputs": {"type": "array", "items": _TEXT, "default": ["x"]},
        "state": _named(_state(), "Tensors that each call carries from one call of the model to the next."),
        "modules": _MODULES,
        "body": _FLOW,
        "result": {"type": ["string", "array"], "items": _TEXT, "description": "What leaves, where it is not the current value."},
    }
    return {"type": "object", "required": ["body"], "additionalProperties": False, "properties": properties}


def _step(ops: dict[str, type[Op]]) -> Json:
    """A statement, a call or a structure. Keys that are no op are the user's own blocks and modules."""
    calls = {name: {"$ref": f"#/$defs/op.{name}"} for name in ops}
    needs = {"repeat": ["do"], "for": ["do"], "if": ["then"]}
    return {"anyOf": [{"$ref": "#/$defs/names"}, {"type": "object", "properties": calls | _structures(), "dependentRequired": needs}]}


def _structures() -> Json:
    return {
        "residual": _FLOW | {"description": "x + steps(x)."},
        "skip": _FLOW | {"description": "The other side of `residual`, in the place of x."},
        "branches": {"type": "array", "items": _FLOW, "description": "Several flows from the same value."},
        "merge": {"enum": ["concat", "add", "mul", "list"], "default": "concat", "description": "How branches join."},
        "dim": {"type": "integer", "default": 1, "description": "Where `merge: concat` joins."},
        "repeat": {"type": ["integer", "string"], "description": "How often: unrolled, with fresh weights each time."},
        "for": _TEXT | {"description": "`i in range(4)`: unrolled over a list."},
        "do": _FLOW,
        "if": {"type": ["boolean", "string"], "description": "A condition that is decided at compile time."},
        "then": _FLOW,
        "else": _FLOW,
        "modules": _MODULES,
        "name": {"type": ["string", "integer"], "description": "Names the weights of this step."},
        **_recurrences(),
    }


def _recurrences() -> Json:
    values = _named(EXPRESSION, "Names, and what they are read from or start with.")
    inner = {"over": EXPRESSION, "values": values, "do": _FLOW, "collect": _named(_TEXT, "Names, and the variables that they collect.")}
    fixed = {"carry": values, "do": _FLOW, "until": EXPRESSION, "at_most": EXPRESSION}
    return {
        name: {"type": "object", "additionalProperties": False, "properties": properties, "description": text}
        for name, properties, text in (
            ("scan", inner | {"carry": values}, "A recurrence along an axis."),
            ("map", inner, "The steps for each slice along an axis."),
            ("iterate", fixed, "The steps until what they carry no longer changes."),
        )
    }
