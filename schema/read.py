"""YAML files to a ModelSpec. All diagnostics of a file, and of the files it imports, are found in one run."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from functools import partial
from pathlib import Path
from typing import Any

from lamina.schema import spec as s
from lamina.schema.base_spec import base_path, joined
from lamina.schema.declarations import (
    command_line,
    config_entry,
    dim,
    image,
    input_decl,
    output_decl,
    small_config,
    state_decl,
    variant,
    weight_precision,
    weight_rules,
)
from lamina.schema.diagnostics import Collector, Fault
from lamina.schema.imports import read_file
from lamina.schema.patterns import Pattern
from lamina.schema.reading import Reading
from lamina.schema.references import check_preprocess, check_references
from lamina.schema.root import check_required, read_root
from lamina.schema.sections import Paper, Published, Tokenizer
from lamina.schema.structures import modules
from lamina.schema.tree import Mapping, Node, Scalar
from lamina.schema.validation import validated

_KEYS = (
    "lamina", "model", "summary", "paper", "base", "use", "config", "variants", "small", "published", "inputs", "dims", "state", "modules",
    "blocks", "adapt", "body", "outputs", "weights", "precision", "preprocess", "tokenizer",
)  # fmt: skip
_OF_EVERY = ("lamina", "model")
_REQUIRED = (*_OF_EVERY, "inputs", "body", "outputs")
_MOST_BASES = 4


def read_spec(
    path: str | Path, variant: str | None = None, overrides: MappingType[str, str] | None = None, small: bool = False
) -> s.ModelSpec:
    """Read a model file. `overrides` are config values as YAML text, over those of `small`. Raises SpecError with every diagnostic."""
    collector = Collector()
    spec = read_what_stands(path, collector, variant, overrides, small)
    collector.raise_if_any()
    assert spec is not None
    return spec


def read_what_stands(
    path: str | Path,
    collector: Collector,
    variant: str | None = None,
    overrides: MappingType[str, str] | None = None,
    small: bool = False,
) -> s.ModelSpec | None:
    """A spec without the parts that are wrong, so that the rest is checked in the same run; None when too little stands."""
    reading, path = Reading(collector), Path(path)
    found = _root(reading, path, str(path))
    if found is None:
        return None
    root, files = found
    fields = {
        **_declared(reading, root),
        **_computed(reading, files, root),
        **_around(reading, root),
        "overrides": command_line(overrides or {}, collector),
    }
    check_references(root, collector, variant, fields["overrides"])
    if small:
        fields["overrides"] = (*fields["small"], *fields["overrides"])
    check_preprocess(root, collector, fields["inputs"], fields["preprocess"])
    if not reading.usable or fields["body"] is None:
        return None
    return s.ModelSpec(path=path, variant=variant, sources=collector.sources, unreadable=frozenset(reading.unreadable), **fields)


def _root(reading: Reading, path: Path, name: str, above: int = 0) -> tuple[Mapping, tuple[s.File, ...]] | None:
    """The top level, joined with that of its base, and the blocks of each."""
    root = read_root(reading, path, name, _KEYS, _OF_EVERY)
    if root is None:
        return None
    node, unknown = root.get("base"), [key.text for key, _ in root if key.text not in _KEYS]
    below = None if node is None else reading.attempt(partial(_base, reading, path, above), node)
    reading.usable = reading.usable and (node is None or below is not None)
    own = read_file(reading, path, name, root)
    if below is None:
        if node is None:
            check_required(reading, root, _REQUIRED, unknown)
        return root, (own,)
    return joined(below[0], root), (own, *below[1])


def _base(reading: Reading, path: Path, above: int, node: Node) -> tuple[Mapping, tuple[s.File, ...]] | None:
    if above == _MOST_BASES:
        raise Fault("cycle", f"a spec goes on from another at most {_MOST_BASES} times", node.span, "two of them may go on from each other")
    return _root(reading, *base_path(path, node), above + 1)


def _declared(reading: Reading, root: Mapping) -> dict[str, Any]:
    """The sections that declare names."""
    return {
        "variants": reading.each(root.get("variants"), "variants", variant),
        "small": reading.attempt(small_config, root.get("small")) or (),
        "config": tuple(reading.each(root.get("config"), "config", config_entry).values()),
        "inputs": tuple(reading.each(root.get("inputs"), "inputs", input_decl).values()),
        "dims": reading.each(root.get("dims"), "dims", partial(dim, reading.collector)),
        "state": tuple(reading.each(root.get("state"), "state", state_decl).values()),
        "outputs": tuple(reading.each(root.get("outputs"), "outputs", output_decl).values()),
    }


def _computed(reading: Reading, files: tuple[s.File, ...], root: Mapping) -> dict[str, Any]:
    """The sections that say what is computed."""
    return {
        "file": files[0] if len(files) == 1 else _one_file(files),
        "files": files,
        "modules": reading.attempt(modules, root.get("modules")),
        "adapt": tuple(reading.each(root.get("adapt"), "adapt", partial(_adaptation, reading)).values()),
        "body": _body(reading, root.get("body")),
    }


def _one_file(files: tuple[s.File, ...]) -> s.File:
    """The blocks of all: what two define is that of the one which goes on from the other."""
    blocks = {name: block for file in reversed(files) for name, block in file.blocks.items()}
    imports = {imported.name: imported for file in files for imported in file.imports}
    return s.File(name=files[0].name, blocks=blocks, imports=tuple(imports.values()))


def _adaptation(reading: Reading, key: Scalar, node: Node) -> s.Adaptation:
    """Steps around those whose paths match. Raises Fault for what is no pattern."""
    patterns = tuple(text.strip() for text in key.text.split(" | "))
    try:
        for text in patterns:
            Pattern.parse(text)
    except ValueError as error:
        raise Fault("pattern", str(error), key.span) from error
    return s.Adaptation(span=key.span, patterns=patterns, flow=reading.steps.flow(node))


def _around(reading: Reading, root: Mapping) -> dict[str, Any]:
    """The sections about the model: where it is from, and what feeds it."""
    collector = reading.collector
    return {
        "model": reading.text(root, "model"),
        "summary": reading.text(root, "summary"),
        "paper": validated(Paper, root.get("paper"), collector),
        "published": reading.each(root.get("published"), "published", lambda k, v: validated(Published, v, collector)),
        "weights": reading.attempt(partial(weight_rules, collector), root.get("weights")),
        "precision": tuple(reading.each(root.get("precision"), "precision", weight_precision).values()),
        "preprocess": reading.each(root.get("preprocess"), "preprocess", partial(image, collector)),
        "tokenizer": validated(Tokenizer, root.get("tokenizer"), collector),
    }


def _body(reading: Reading, node: Node | None) -> s.Flow | None:
    if isinstance(node, Scalar) and node.plain and not node.text:
        reading.collector.error("type", "`body` is empty", node.span, "write its steps, such as `- linear: 10`, one a line")
        return None
    return None if node is None else reading.steps.flow(node)
