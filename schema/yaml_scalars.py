"""What YAML 1.2's core schema makes of a plain scalar."""

from __future__ import annotations

import re

from lamina.schema.diagnostics import Fault, Span
from lamina.schema.tree import Plain

_INT = re.compile(r"[-+]?[0-9]+$|0x[0-9a-fA-F]+$|0o[0-7]+$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_WORDS: dict[str, Plain] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_SPECIAL = {".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}


def resolve(text: str, span: Span) -> Plain:
    """The value of a plain scalar. Raises Fault for a number of many digits."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        if len(text) > 40:
            raise Fault("limit", f"the number {text[:12]}... has {len(text)} digits", span, "integers go up to 2^63")
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.match(text):
        return float(text)
    return _SPECIAL.get(text, text)
