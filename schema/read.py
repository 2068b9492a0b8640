"""YAML files to a ModelSpec. All diagnostics of a file, and of the files it imports, are found in one run."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from functools import partial
from pathlib import Path
from typing import Any

from lamina.schema import spec as s
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
from lamina.schema.diagnostics import Collector
from lamina.schema.imports import read_file
from lamina.schema.reading import Reading
from lamina.schema.references import check_preprocess, check_references
from lamina.schema.root import read_root
from lamina.schema.sections import Paper, Published, Tokenizer
from lamina.schema.structures import modules
from lamina.schema.tree import Mapping, Node, Scalar
from lamina.schema.validation import validated

_KEYS = (
    "lamina", "model", "summary", "paper", "use", "config", "variants", "small", "published", "inputs", "dims", "state", "modules",
    "blocks", "body", "outputs", "weights", "precision", "preprocess", "tokenizer",
)  # fmt: skip
_REQUIRED = ("lamina", "model", "inputs", "body", "outputs")


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
    root = read_root(reading, path, str(path), _KEYS, _REQUIRED)
    if root is None:
        return None
    fields = {
        **_declared(reading, root),
        **_computed(reading, path, root),
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


def _computed(reading: Reading, path: Path, root: Mapping) -> dict[str, Any]:
    """The sections that say what is computed."""
    return {
        "file": read_file(reading, path, str(path), root),
        "modules": reading.attempt(modules, root.get("modules")),
        "body": _body(reading, root.get("body")),
    }


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
