"""The spec as it was compiled: one variant and every override written into `config`, imported blocks copied beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping as Mappings
from dataclasses import replace

from lamina.compiler.elaborate.unused import unused
from lamina.schema.diagnostics import Collector
from lamina.schema.dims import DTYPES
from lamina.schema.spec import File, ModelSpec
from lamina.schema.tree import Mapping, Node, Scalar, Sequence
from lamina.schema.types import TypeDecl, default_in_place, is_declaration, literal_type, parse_type
from lamina.schema.yaml_text import parse

_CHOICES = ("variants", "small", "published")  # what chose the config, and figures that are listed by variant


def resolved_files(spec: ModelSpec) -> dict[str, str]:
    """`spec.yaml`, what it goes on from, and `blocks/*.yaml`: compiled again, they give the same model without the library or a variant.

    Sections that do not change keep their text, comments included. What only other variants use is left out.
    """
    overrides = {o.name: o.value for o in (*spec.variants.get(spec.variant or "", ()), *spec.overrides)}
    left_out = _left_out(spec, overrides)
    names = ["spec", *(f"base{n}" for n in range(1, len(spec.files)))]
    blocks: dict[str, str] = {}
    found = {}
    for name, below, file in zip(names, [*names[1:], None], spec.files, strict=True):
        root = _tree(spec.sources[file.name])
        changed = {"use": _imports(file, spec, blocks, "blocks/"), **dict.fromkeys(_CHOICES, ""), **_declared(root, overrides, *left_out)}
        changed |= {"base": f"base: ./{below}.yaml\n"} if below else {}
        found[f"{name}.yaml"] = _rewritten(spec.sources[file.name], root, changed)
    return {**found, **blocks}


def with_precision(spec: ModelSpec, rules: Mappings[str, str]) -> str:
    """The spec's own text, with these rules as its `precision`."""
    text = spec.sources[spec.file.name]
    root, section = _tree(text), precision_section(rules)
    found = _rewritten(text, root, {"precision": section.rstrip()})
    return found if root.get("precision") is not None else found + section


def precision_section(rules: Mappings[str, str]) -> str:
    """Rules by pattern, as YAML."""
    return "\n".join(["precision:", *(f"  {json.dumps(pattern)}: {kept}" for pattern, kept in rules.items()), ""])


def _left_out(spec: ModelSpec, overrides: dict[str, Node]) -> tuple[set[str], set[str]]:
    """The config entries and dims that nothing uses once these values are the defaults."""
    config = [
        e if e.name not in overrides else e.model_copy(update={"type": replace(e.type, default=overrides[e.name])}) for e in spec.config
    ]
    return unused(spec.model_copy(update={"config": tuple(config), "variants": {}, "small": ()}))


def _declared(root: Mapping, overrides: dict[str, Node], config: set[str], dims: set[str]) -> dict[str, str]:
    """The sections `config` and `dims` where something in them was overridden, or is left out."""
    changed = {}
    for name, left_out in (("config", config), ("dims", dims)):
        section = root.get(name)
        names = {key.text for key, _ in section} if isinstance(section, Mapping) else set()
        if isinstance(section, Mapping) and names & {*left_out, *(overrides if name == "config" else ())}:
            kept = [(key.text, value) for key, value in section if key.text not in left_out]
            lines = [f"  {key}: {_overridden(value, overrides[key]) if key in overrides else _flow(value)}" for key, value in kept]
            changed[name] = "\n".join([f"{name}:", *lines, ""]) if kept else ""
    return changed


def _rewritten(text: str, root: Mapping, changed: dict[str, str]) -> str:
    """The text with whole top-level sections replaced."""
    lines = text.splitlines()
    starts = [k.span.line - 1 for k, _ in root] + [len(lines)]
    parts = ["\n".join(lines[: starts[0]])]
    for (key, _), start, end in zip(root, starts, starts[1:], strict=False):
        parts.append(changed[key.text] if key.text in changed else "\n".join(lines[start:end]))
    return "\n".join(p for p in parts if p).rstrip() + "\n"


def _imports(file: File, spec: ModelSpec, files: dict[str, str], folder: str) -> str:
    """The `use` section that names the copies; makes the copies."""
    if not file.imports:
        return ""
    return "use: [" + ", ".join(_copy(f, spec, files, folder) for f in file.imports) + "]\n"


def _copy(file: File, spec: ModelSpec, files: dict[str, str], folder: str) -> str:
    name = file.name.rsplit("/", 1)[-1]
    path = f"blocks/{name}"
    if path not in files:
        files[path] = ""
        text = spec.sources[file.name]
        files[path] = _rewritten(text, _tree(text), {"use": _imports(file, spec, files, "")})
    return f"./{folder}{name}"


def _tree(text: str) -> Mapping:
    root = parse(text, "spec", Collector())
    assert isinstance(root, Mapping)  # it was read before
    return root


def _overridden(declared: Node, value: Node) -> str:
    """The value in the place of the default, with the declared type kept."""
    kind: TypeDecl | None
    if isinstance(declared, Scalar) and is_declaration(declared.text):
        kind = parse_type(declared)
    else:
        kind = default_in_place(declared) or (literal_type(declared) if _is_expression(value, declared) else None)
    if kind and kind.blocks and not isinstance(value, Scalar):
        return f'{{type: "{kind}", default: {_flow(value)}}}'
    if kind:
        return json.dumps(f"{kind} = {_expression(value, kind)}", ensure_ascii=False)
    return _flow(value)


def _is_expression(value: Node, declared: Node) -> bool:
    """Whether a text stands in the place of a literal of another type: it is an expression there."""
    return isinstance(value, Scalar) and isinstance(value.value, str) and literal_type(declared).kind != "str"


def _expression(node: Node, kind: TypeDecl) -> str:
    """The value as an expression of the language, in which a text where a text is due is quoted."""
    if isinstance(node, Sequence) and kind.item:
        return "[" + ", ".join(_expression(i, kind.item) for i in node.items) + "]"
    assert isinstance(node, Scalar)
    literal = kind.choices or (DTYPES if kind.kind == "dtype" else [node.text] if kind.kind == "str" else [])
    return repr(node.text) if node.text in literal and isinstance(node.value, str) else node.text or "null"


def _flow(node: Node) -> str:
    """The value as YAML on one line."""
    if isinstance(node, Sequence):
        return "[" + ", ".join(_flow(i) for i in node.items) + "]"
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{k.text}: {_flow(v)}" for k, v in node) + "}"
    # A quoted text stays quoted, so that "1" stays a text; JSON's escapes are YAML's.
    return json.dumps(node.text, ensure_ascii=False) if not node.plain or not node.text else node.text
