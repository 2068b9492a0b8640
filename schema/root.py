"""A file's top level: that it is a mapping, of this version of the language, with the keys that it may and must have."""

from __future__ import annotations

from pathlib import Path

from lamina.schema.diagnostics import Fault, Span, did_you_mean
from lamina.schema.reading import Reading
from lamina.schema.tree import Mapping, Node, Scalar
from lamina.schema.yaml_text import parse, read_text

RESERVED = ("transform", "search", "train", "decode", "taps")
_FOUNDATIONS = ("use", "config", "inputs", "dims", "state", "modules", "blocks", "body", "args")  # without one, names look undefined
_TEMPLATES = {
    "lamina": "`lamina: 1`, the version of the language",
    "model": "`model:` and a name",
    "inputs": '`inputs: {x: "float32[N, 16]"}` with your names and sizes',
    "body": "`body:` and a list of steps, such as `- linear: 10`, one a line",
    "outputs": '`outputs: {y: "float32[N, 10]"}` with your names and sizes',
    "blocks": "`blocks:` with a body for each name",
}


def read_root(
    reading: Reading, path: Path, name: str, known: tuple[str, ...], required: tuple[str, ...], what: str = "a spec"
) -> Mapping | None:
    """A file's top level, or None when it cannot be used."""
    root = _mapping(reading, path, name)
    if root is None:
        reading.usable = False
        return None
    check_keys(reading, root, known, what)
    check_required(reading, root, required, [key.text for key, _ in root if key.text not in known])
    _check_version(reading, root)
    return root


def check_keys(reading: Reading, node: Mapping, known: tuple[str, ...], what: str) -> None:
    """Report keys that the language does not have here."""
    for key, _ in node:
        if key.text in RESERVED and "body" in known and "lamina" in known:
            reading.collector.error("reserved", f"`{key.text}` is reserved for a later version of the language", key.span, "remove it")
        elif key.text not in known:
            hint = did_you_mean(key.text, known) or f"the keys are {', '.join(known)}"
            reading.collector.error("unknown-key", f"`{key.text}` is not a key of {what}", key.span, hint)
            reading.usable = reading.usable and not did_you_mean(key.text, _FOUNDATIONS)


def _mapping(reading: Reading, path: Path, name: str) -> Mapping | None:
    start, collector = Span(name, 1, 1), reading.collector
    try:
        root = parse(read_text(path, name), name, collector)
    except Fault as fault:
        collector.add(fault.at(start))
        return None
    if root is None and not collector.diagnostics:
        collector.error("yaml", "the file is empty", start, "start with `lamina: 1`")
    if root is not None and not isinstance(root, Mapping):
        collector.error("yaml", "a spec is a mapping of sections, such as `model:` and `body:`", root.span)
    return root if isinstance(root, Mapping) else None


def check_required(reading: Reading, node: Mapping, required: tuple[str, ...], unknown: list[str]) -> None:
    """What is missing, but for a key that stands there misspelt: that has been said."""
    for key in required:
        if key not in node.keys and not did_you_mean(key, unknown):
            reading.collector.error("missing-key", f"the file has no `{key}:`", node.span, f"add {_TEMPLATES[key]}")
            reading.usable = reading.usable and key not in _FOUNDATIONS
    for name, value in node:
        if name.text in required and name.text in ("inputs", "outputs") and _is_empty(value):
            reading.collector.error("missing-key", f"`{name.text}:` is empty", name.span, f"add {_TEMPLATES[name.text]}")


def _is_empty(node: Node) -> bool:
    return (isinstance(node, Mapping) and not node.entries) or (isinstance(node, Scalar) and node.plain and not node.text)


def _check_version(reading: Reading, root: Mapping) -> None:
    version = root.get("lamina")
    if isinstance(version, Scalar) and (version.value != 1 or isinstance(version.value, bool)):
        message = f"`lamina: {version.text}` is not a language version that this release reads"
        reading.collector.error("version", message, version.span, "write `lamina: 1`")
