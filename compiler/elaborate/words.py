"""Values and types as messages put them."""

from __future__ import annotations

import reprlib
from typing import Any

from lamina.compiler.elaborate.values import CALLEES
from lamina.compiler.graph import Value
from lamina.compiler.op import Op
from lamina.schema.dims import Dim
from lamina.schema.types import TypeDecl

_KINDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text",
    "size": "a size", "dtype": "a dtype", "block": "a block",
    "integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text", "null": "null",
}  # fmt: skip


_WORDY = (Value, *CALLEES, Dim, list)


def shown(value: Any) -> str:
    """A value in a message."""
    if isinstance(value, Value):
        return f"a tensor {value.type}"
    if isinstance(value, CALLEES):
        return f"the block `{value.name}`"
    if isinstance(value, Dim):
        return f"the dynamic size `{value}`"
    if isinstance(value, str):
        return f"the text `{value}`"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list) and any(isinstance(v, _WORDY) for v in value):
        return f"the list [{', '.join(shown(v) for v in value[:6])}{', ...' * (len(value) > 6)}]"
    return f"`{reprlib.repr(value)}`"


def declared(kind: TypeDecl) -> str:
    """A declared type in words."""
    choices = "one of " + ", ".join(f"`{c}`" for c in kind.choices)
    text = f"a list, `{kind}`" if kind.item else choices if kind.choices else _KINDS[kind.kind]
    return f"{text} or null" if kind.optional and not kind.item else text


def expected(op: type[Op], key: str) -> str:
    """An argument's type in words."""
    return _described(op.model_json_schema()["properties"].get(key, {}) if key in op.model_fields else {})


def _described(schema: dict[str, Any]) -> str:
    """A JSON Schema type in words."""
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(f"`{v}`" for v in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_described(s) for s in schema["anyOf"]))
    kind = schema.get("type", "")
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    bound = f" of at least {low}" if "minimum" in schema else f" above {low}" if low is not None else ""
    if kind == "array":
        return f"a list of {_plural(_described(schema.get('items', {})))}"
    return _KINDS.get(kind, "a value of another type") + bound


def _plural(text: str) -> str:
    return text.removeprefix("a ").replace("number", "numbers", 1).replace("text", "texts", 1)
