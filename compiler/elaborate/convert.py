"""Values against declared types."""

from __future__ import annotations

from typing import Any

from lamina.compiler.elaborate.values import CALLEES
from lamina.compiler.elaborate.words import declared as type_words
from lamina.compiler.elaborate.words import shown
from lamina.schema.diagnostics import Fault, Span, did_you_mean
from lamina.schema.dims import DTYPES, Dim
from lamina.schema.types import TypeDecl


def convert(value: Any, declared: TypeDecl, what: str, span: Span) -> Any:
    """The value as the declared type. Raises Fault when it is another."""
    if value is None and declared.optional:
        return None
    if declared.kind == "list":
        if not isinstance(value, list):
            raise _wrong(value, declared, what, span)
        assert declared.item is not None
        return [convert(v, declared.item, f"element {i} of {what}", span) for i, v in enumerate(value)]
    if declared.kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not _fits(value, declared.kind) or (declared.choices and value not in declared.choices):
        raise _wrong(value, declared, what, span)
    return value


def _fits(value: Any, kind: str) -> bool:
    if kind in ("int", "size"):
        return (isinstance(value, int) and not isinstance(value, bool)) or (kind == "size" and isinstance(value, Dim))
    if kind == "block":
        return isinstance(value, CALLEES)
    if kind == "dtype":
        return value in DTYPES
    return isinstance(value, {"float": float, "bool": bool, "str": str}[kind])


def _wrong(value: Any, declared: TypeDecl, what: str, span: Span) -> Fault:
    if isinstance(value, Dim) and declared.kind == "int":
        return Fault(
            "type",
            f"{what} must be a fixed whole number, but it is the dynamic size {value}",
            span,
            "declare it as `size` if any size will do",
        )
    hint = "name an op or a block, or write steps in [ ]" if declared.kind == "block" else did_you_mean(str(value), declared.choices)
    return Fault("type", f"{what} must be {type_words(declared)}, but it is {shown(value)}", span, hint)
