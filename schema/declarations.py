"""What a spec declares by name: tensors, config entries, variants, dims."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as MappingType
from typing import get_args

from lamina.schema import spec as s
from lamina.schema.diagnostics import Collector, Fault, did_you_mean
from lamina.schema.dims import DTYPES, Precision
from lamina.schema.expressions import Expression, parse_expression
from lamina.schema.parts import formula, need, scalar
from lamina.schema.sections import DimDecl, ImagePreprocess
from lamina.schema.tree import Mapping, Node, Scalar, Sequence, plain
from lamina.schema.types import default_in_place, is_declaration, literal_type, parse_type
from lamina.schema.validation import validated
from lamina.schema.weights import WeightRules
from lamina.schema.yaml_text import parse

_TENSOR = re.compile(r"\s*(\w+)\s*(\[.*\])\s*$", re.DOTALL)


def tensor_decl(key: Scalar, node: Node) -> s.TensorDecl:
    """`float32[N, 3, H, W]` as a declaration. Raises Fault."""
    text = scalar(node, f"`{key.text}`")
    match = _TENSOR.match(text.text)
    if not match:
        hint = "write dtype[sizes], such as `float32[N, 3, H, W]`, quoted inside {}"
        raise Fault("type", f"`{text.text}` is not a tensor type", node.span, hint)
    dtype = match.group(1)
    if dtype not in DTYPES:
        hint = did_you_mean(dtype, DTYPES) or f"dtypes are {', '.join(DTYPES)}"
        raise Fault("dtype", f"`{dtype}` is not a dtype", text.at(match.start(1), len(dtype)), hint)
    listed = parse_expression(text, match.start(2))
    elements = getattr(listed.tree, "elts", [])
    return s.TensorDecl(span=key.span, name=key.text, dtype=dtype, shape=tuple(Expression(e, text, listed.offset) for e in elements))


def input_decl(key: Scalar, node: Node) -> s.TensorDecl:
    """An input: a tensor, or `{type: tensor, if: condition}` where it depends on the config. Raises Fault."""
    return _tensor_decl(key, node, {"if": "condition"})


def output_decl(key: Scalar, node: Node) -> s.TensorDecl:
    """An output: as an input, or with `train: true` where only training has it. Raises Fault."""
    return _tensor_decl(key, node, {"if": "condition"}, ("train",))


def state_decl(key: Scalar, node: Node) -> s.TensorDecl:
    """What is carried from call to call: a tensor that starts at 0, or `{type: tensor, init: number, if: condition}`. Raises Fault."""
    return _tensor_decl(key, node, {"init": "init", "if": "condition"})


def _tensor_decl(key: Scalar, node: Node, formulas: MappingType[str, str], flags: tuple[str, ...] = ()) -> s.TensorDecl:
    """A tensor, or a mapping with its `type`, formulas under these keys, which become these fields, and flags."""
    if not isinstance(node, Mapping):
        return tensor_decl(key, node)
    known = ("type", *formulas, *flags)
    for name, _ in node:
        if name.text not in known:
            hint = did_you_mean(name.text, known) or f"its keys are {', '.join(known)}"
            raise Fault("unknown-key", f"`{name.text}` is not a key here", name.span, hint)
    declared = tensor_decl(key, need(node, "type", key.text))
    given: dict[str, object] = {field: formula(node, name, key.text) for name, field in formulas.items() if node.get(name) is not None}
    given |= {name: _flag(value, name) for name in flags if (value := node.get(name)) is not None}
    return declared.model_copy(update=given)


def _flag(node: Node, name: str) -> bool:
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, bool):
        raise Fault("type", f"`{name}` must be true or false", node.span)
    return value


def config_entry(key: Scalar, node: Node) -> s.ConfigEntry:
    """A type with a default, or a literal default. Raises Fault."""
    declares = isinstance(node, Scalar) and isinstance(node.value, str) and is_declaration(node.text)
    declared = parse_type(node) if declares and isinstance(node, Scalar) else default_in_place(node) or literal_type(node)
    return s.ConfigEntry(span=key.span, name=key.text, type=declared)


def variant(key: Scalar, node: Node) -> tuple[s.Override, ...]:
    """The config values that a variant gives. Raises Fault."""
    return _overrides(node, f"the variant `{key.text}`")


def small_config(node: Node) -> tuple[s.Override, ...]:
    """The config values that make the model small. Raises Fault."""
    return _overrides(node, "`small`")


def _overrides(node: Node, what: str) -> tuple[s.Override, ...]:
    if isinstance(node, Scalar) and node.value is None and node.plain:
        return ()
    if not isinstance(node, Mapping):
        raise Fault("type", f"{what} must be a mapping of config values", node.span, "write {} for the defaults")
    return tuple(s.Override(span=k.span, name=k.text, value=v) for k, v in node)


def command_line(overrides: MappingType[str, str], collector: Collector) -> tuple[s.Override, ...]:
    """The config values of `--set`, which are YAML texts."""
    parsed = {name: parse(text, f"--set {name}", collector) for name, text in overrides.items()}
    return tuple(s.Override(span=v.span, name=name, value=v) for name, v in parsed.items() if v is not None)


def dim(collector: Collector, key: Scalar, node: Node) -> DimDecl | None:
    """The range of a dynamic size. Raises Fault."""
    if not isinstance(node, Mapping):
        raise Fault("type", f"the dim `{key.text}` must be a mapping", node.span, f"write {key.text}: {{min: 1, opt: 8, max: 64}}")
    before = len(collector.diagnostics)
    found = validated(DimDecl, node, collector, {"span": key.span, **_expressions(node, ("min", "opt", "max", "multiple_of"))})
    if found is None or len(collector.diagnostics) > before:
        return None
    problem, where = _range_problem(key.text, found)
    if problem:
        place = node.get(where)
        raise Fault("dims", problem, place.span if place is not None else key.span, _nearest(found, where))
    return found


def image(collector: Collector, key: Scalar, node: Node) -> ImagePreprocess | None:
    """How a file becomes this input. Raises Fault."""
    return validated(ImagePreprocess, node, collector, _expressions(node, ("resize", "crop")))


def weight_precision(key: Scalar, node: Node) -> s.WeightPrecision:
    """What the weights that match this pattern are kept in. Raises Fault."""
    text = scalar(node, f"the precision of `{key.text}`").text
    precisions = get_args(Precision)
    if text not in precisions:
        hint = did_you_mean(text, precisions) or f"precisions are {', '.join(precisions)}"
        raise Fault("type", f"`{text}` is not a precision", node.span, hint)
    return s.WeightPrecision.model_validate({"span": key.span, "pattern": key.text, "precision": text})


def weight_rules(collector: Collector, node: Node) -> WeightRules | None:
    """How a checkpoint's keys become paths, and what it must say. Texts among sizes, factors and metadata are expressions."""
    if not isinstance(node, Mapping):
        return validated(WeightRules, node, collector)
    metadata = node.get("metadata")
    data = {key.text: plain(value) for key, value in node}
    extra: dict[str, object] = {"place": next((key.span for key, _ in node if key.text == "architecture"), None)}
    for section, spans in (("rename", "spans"), ("join", "join_spans")):
        rules = node.get(section)
        extra[spans] = {key.text: key.span for key, _ in rules} if isinstance(rules, Mapping) else {}
        if isinstance(rules, Mapping):
            data[section] = _each(rules, _rule, collector)
    if isinstance(metadata, Mapping):
        data["metadata"] = _each(metadata, lambda value: parse_expression(scalar(value, "a value of `metadata`")), collector)
    return validated(WeightRules, node, collector, extra, code="weights", data=data)


def _each(node: Mapping, read: Callable[[Node], object], collector: Collector) -> dict[str, object]:
    """What `read` makes of the values; one that is wrong is reported and left out."""
    found = {}
    for key, value in node:
        try:
            found[key.text] = read(value)
        except Fault as fault:
            collector.add(fault.at(value.span))
    return found


def _rule(node: Node) -> object:
    """A rule as plain data, but the texts of `reshape` and of `scale` as expressions. Raises Fault."""
    if isinstance(node, Sequence):
        return [_rule(item) for item in node.items]
    if not isinstance(node, Mapping):
        return plain(node)
    read: dict[str, Callable[[Node], object]] = {"reshape": _sizes, "scale": _number}
    return {key.text: read.get(key.text, _rule)(value) for key, value in node}


def _sizes(node: Node) -> object:
    if not isinstance(node, Sequence):
        return plain(node)
    return [_number(item) for item in node.items]


def _number(node: Node) -> object:
    return parse_expression(node) if isinstance(node, Scalar) and isinstance(node.value, str) else plain(node)


def _expressions(node: Node, keys: tuple[str, ...]) -> dict[str, Expression]:
    """The texts under these keys, where numbers are due. Raises Fault."""
    items = [(k.text, v) for k, v in node if k.text in keys] if isinstance(node, Mapping) else []
    return {key: parse_expression(value) for key, value in items if isinstance(value, Scalar) and isinstance(value.value, str)}


def _nearest(dim: DimDecl, key: str) -> str:
    value, unit = getattr(dim, key), dim.multiple_of
    if not isinstance(unit, int):
        return ""
    return f"write {value // unit * unit or unit} or {-(-value // unit) * unit}" if value % unit else ""


def _range_problem(name: str, dim: DimDecl) -> tuple[str, str]:
    """What is wrong with those of its values that are numbers, and the key to change."""
    known = {key: value for key in ("min", "opt", "max") if isinstance(value := getattr(dim, key), int)}
    low, most = known.get("min", 0), known.get("max", max(known.values(), default=0))
    if low > most:
        return f"the dim `{name}` has min {low} above max {most}", "min"
    if not low <= known.get("opt", low) <= most:
        return f"the dim `{name}` has opt {known['opt']} outside {low} to {most}", "opt"
    for key, value in known.items():
        if isinstance(dim.multiple_of, int) and value % dim.multiple_of and key in dim.model_fields_set:
            return f"the dim `{name}` is a multiple of {dim.multiple_of}, but its {key} is {value}", key
    return "", ""
