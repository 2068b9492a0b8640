"""What one section of a spec says of another: names that must exist there, and counts that must agree."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lamina.schema.diagnostics import Collector, Note, Span, did_you_mean
from lamina.schema.sections import ImagePreprocess
from lamina.schema.spec import Override, TensorDecl
from lamina.schema.tree import Mapping as Tree
from lamina.schema.tree import Scalar


def check_references(root: Tree, collector: Collector, variant: str | None, overrides: Iterable[Override]) -> None:
    """Report names of config, variants and inputs that nothing declares."""
    config = _keys(root, "config")
    sets = [values for _, values in _section(root, "variants")] + [_section(root, "small")]
    given = [(k.text, k.span) for values in sets if isinstance(values, Tree) for k, _ in values]
    for name, span in (*given, *((o.name, o.span) for o in overrides)):
        if name not in config:
            hint = did_you_mean(name, config) or f"the config holds {', '.join(config) or 'nothing'}"
            collector.error("unknown-config", f"`{name}` is not in the config", span, hint)
    _chosen(root, collector, variant)
    if _keys(root, "variants"):
        _named(root, "published", _keys(root, "variants"), "a variant", collector)
    _named(root, "preprocess", _keys(root, "inputs"), "an input", collector)
    _tokenizer(root, collector)
    _shadowed(root, collector)


def check_preprocess(root: Tree, collector: Collector, inputs: Sequence[TensorDecl], preprocess: Mapping[str, ImagePreprocess]) -> None:
    """Report a mean or std that has not one value for each channel of its input."""
    for decl in inputs:
        channels = _channels(decl) if decl.name in preprocess else None
        section = _section(root, "preprocess").get(decl.name)
        for key in ("mean", "std"):
            count = len(getattr(preprocess.get(decl.name), key, ()))
            written = section.get(key) if isinstance(section, Tree) else None
            if written is not None and channels is not None and count != channels:
                message = f"`{key}` has {count} value{'s' * (count != 1)}, but the input `{decl.name}` has {channels} channels"
                collector.error("preprocess", message, written.span, "write one value for each channel")


def _channels(decl: TensorDecl) -> int | None:
    """The third size from the end, where it is written as a number."""
    size = decl.shape[-3].tree if len(decl.shape) >= 3 else None
    return size.value if isinstance(size, ast.Constant) and isinstance(size.value, int) else None


def _chosen(root: Tree, collector: Collector, variant: str | None) -> None:
    names = _keys(root, "variants")
    if variant is not None and variant not in names:
        place = root.get("variants")
        hint = did_you_mean(variant, names) or f"the variants are {', '.join(names) or 'none'}"
        collector.error("unknown-variant", f"there is no variant `{variant}`", place.span if place is not None else root.span, hint)


def _named(root: Tree, section: str, known: Sequence[str], what: str, collector: Collector) -> None:
    for key, _ in _section(root, section):
        if key.text not in known:
            word = what.split()[-1]
            hint = did_you_mean(key.text, known) or f"the {word}s are {', '.join(known)}"
            collector.error(f"unknown-{word}", f"`{section}` names `{key.text}`, which is not {what}", key.span, hint)


def _tokenizer(root: Tree, collector: Collector) -> None:
    inputs = _keys(root, "inputs")
    for key, value in _section(root, "tokenizer"):
        text = value.text if isinstance(value, Scalar) else ""
        if key.text in ("ids", "mask", "types") and text not in inputs:
            hint = did_you_mean(text, inputs) or f"the inputs are {', '.join(inputs)}"
            collector.error("unknown-input", f"`tokenizer.{key.text}` names `{text}`, which is not an input", value.span, hint)
        if key.text == "file" and (Path(text).is_absolute() or ".." in Path(text).parts):
            hint = "write the name of a file beside the checkpoint or the spec, such as `tokenizer.json`"
            collector.error("path", f"`{text}` leads out of the folder of the checkpoint", value.span, hint)


def _shadowed(root: Tree, collector: Collector) -> None:
    """A config value and a dim of one name would hide one another."""
    config = {key.text: key.span for key, _ in _section(root, "config")}
    for key, _ in _section(root, "dims"):
        if key.text in config:
            notes = [Note(f"`{key.text}` is in `config` here", config[key.text])]
            collector.error("name", f"`{key.text}` is both in `config` and in `dims`", key.span, "rename one of them", notes)


def _section(root: Tree, section: str) -> Tree:
    node = root.get(section)
    return node if isinstance(node, Tree) else Tree((), Span("", 1, 1))


def _keys(root: Tree, section: str) -> tuple[str, ...]:
    return _section(root, section).keys
