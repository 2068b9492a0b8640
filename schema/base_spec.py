"""`base:`: a spec that goes on where another one ends. Its sections are the other's, with its own entries after them."""

from __future__ import annotations

from pathlib import Path

from lamina.schema.diagnostics import Fault, did_you_mean
from lamina.schema.parts import scalar
from lamina.schema.tree import Mapping, Node, Scalar, Sequence

ZOO = Path(__file__).resolve().parent.parent / "specs"
_OWN = ("lamina", "model", "summary", "paper", "published", "base", "use")  # what a spec does not have of its base
_RULES = ("weights", "precision")  # of whose entries the first that matches counts


def base_path(path: Path, node: Node) -> tuple[Path, str]:
    """The file that `base:` names, and how messages name it. Raises Fault."""
    text = scalar(node, "`base`").text
    if text.startswith("./"):
        return _beside(path, text, node)
    named = {p.stem: p for p in sorted(ZOO.glob("*/*.yaml")) if p.parent.name != "blocks"}
    if text in named:
        return named[text], f"{named[text].parent.name}/{named[text].name}"
    if "/" in text or ".." in text:
        raise Fault("path", f"`{text}` is not a path that a spec may go on from", node.span, "a path starts with `./`")
    hint = did_you_mean(text, named) or f"for a file of your own write its path, `./{text}.yaml`"
    raise Fault("import", f"there is no spec `{text}` in the zoo", node.span, hint)


def _beside(path: Path, text: str, node: Node) -> tuple[Path, str]:
    target = path.parent / text
    if ".." in Path(text).parts or (target.exists() and not target.resolve().is_relative_to(path.parent.resolve())):
        raise Fault("path", f"`{text}` leaves the spec's folder", node.span, "copy the file beside the spec")
    if not target.is_file():
        raise Fault("import", f"there is no file `{text}` beside the spec", node.span)
    return target, str(target)


def joined(base: Mapping, own: Mapping) -> Mapping:
    """The top level of both: what stands in both is the spec's own. A variant of the base that is `null` is none of the spec's."""
    kept = [(key, value) for key, value in base if key.text not in _OWN or key.text == "lamina"]
    both = _united(Mapping(tuple(kept), own.span), own, deep=True)
    return Mapping(tuple((k, _without_nulls(v, base.get("variants")) if k.text == "variants" else v) for k, v in both), both.span)


def _without_nulls(variants: Node, base: Node | None) -> Node:
    if not isinstance(variants, Mapping) or not isinstance(base, Mapping):
        return variants
    kept = ((k, v) for k, v in variants if k.text not in base.keys or not (isinstance(v, Scalar) and v.plain and v.value is None))
    return Mapping(tuple(kept), variants.span, variants.flow)


def _united(first: Mapping, second: Mapping, *, deep: bool) -> Mapping:
    entries: dict[str, tuple[Scalar, Node]] = {key.text: (key, value) for key, value in first}
    for key, value in second:
        known = entries.get(key.text)
        if deep and known is not None and isinstance(known[1], Mapping) and isinstance(value, Mapping):
            value = _rules(known[1], value) if key.text in _RULES else _united(known[1], value, deep=False)
        entries[key.text] = (key, value)
    return Mapping(tuple(entries.values()), second.span)


def _rules(base: Mapping, own: Mapping) -> Mapping:
    """Its own stand first, because the first that matches counts."""
    entries: dict[str, tuple[Scalar, Node]] = {key.text: (key, value) for key, value in own}
    for key, value in base:
        found = entries.get(key.text)
        if found is None:
            entries[key.text] = (key, value)
        elif isinstance(found[1], Mapping) and isinstance(value, Mapping):
            entries[key.text] = (found[0], _united(found[1], _without(value, found[1]), deep=False))
        elif isinstance(found[1], Sequence) and isinstance(value, Sequence):
            entries[key.text] = (found[0], Sequence((*found[1].items, *value.items), found[1].span))
    return Mapping(tuple(entries.values()), own.span)


def _without(mapping: Mapping, others: Mapping) -> Mapping:
    return Mapping(tuple((key, value) for key, value in mapping if key.text not in others.keys), mapping.span)
