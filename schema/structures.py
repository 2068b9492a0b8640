"""Steps that hold steps: one function for each structure of the language."""

from __future__ import annotations

from collections.abc import Callable

from lamina.schema.diagnostics import Fault, did_you_mean
from lamina.schema.expressions import parse_expression
from lamina.schema.parts import collected, formula, formulas, need, scalar, section, weights_name
from lamina.schema.spec import Branches, Flow, For, If, Iterate, Map, Modules, Repeat, Residual, Scan, Step
from lamina.schema.tree import Mapping, Node, Scalar, Sequence

ReadFlow = Callable[[Node], Flow]
_MERGES = ("concat", "add", "mul", "list")


def structure(key: str, node: Mapping, flow: ReadFlow) -> Step:
    """The structure that a key names; `flow` reads the steps in it. Raises Fault."""
    read, siblings = STRUCTURES[key]
    for other, _ in node:
        if other.text != key and other.text not in siblings:
            hint = did_you_mean(other.text, (key, *siblings)) or f"beside `{key}` may stand: {', '.join(siblings) or 'nothing'}"
            raise Fault("step", f"`{other.text}` does not belong to `{key}`", other.span, hint)
    return read(node, flow)


def _residual(node: Mapping, flow: ReadFlow) -> Residual:
    skip = node.get("skip")
    body = flow(need(node, "residual", "residual"))
    return Residual(span=node.span, body=body, skip=flow(skip) if skip is not None else None, name=weights_name(node))


def _branches(node: Mapping, flow: ReadFlow) -> Branches:
    value = need(node, "branches", "branches")
    if not isinstance(value, Sequence) or not value.items:
        raise Fault("step", "`branches` needs a list of flows", value.span, "write branches: [[conv: 8], [max_pool: 3]]")
    merge, dim = _merge(node.get("merge")), _dim(node.get("dim"))
    flows = tuple(flow(item) for item in value.items)
    return Branches.model_validate({"span": node.span, "flows": flows, "merge": merge, "dim": dim, "name": weights_name(node)})


def _merge(node: Node | None) -> str:
    how = scalar(node, "`merge`").text if node is not None else "concat"
    if node is not None and how not in _MERGES:
        raise Fault("step", f"`merge` must be concat, add, mul or list, but it is `{how}`", node.span, did_you_mean(how, _MERGES))
    return how


def _dim(node: Node | None) -> int:
    if node is None:
        return 1
    if isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    raise Fault("step", "`dim` must be a number", node.span)


def _repeat(node: Mapping, flow: ReadFlow) -> Repeat:
    count = formula(node, "repeat", "repeat")
    return Repeat(span=node.span, count=count, body=flow(need(node, "do", "repeat")), name=weights_name(node))


def _for(node: Mapping, flow: ReadFlow) -> For:
    text = scalar(need(node, "for", "for"), "`for`")
    left, found, _ = text.text.partition(" in ")
    targets = tuple(t.strip() for t in left.split(","))
    if not found or not all(t.isidentifier() for t in targets):
        raise Fault("step", f"`for: {text.text}` is not a loop", text.span, "write `for: i in range(4)`")
    items = parse_expression(text, len(left) + 4)
    return For(span=node.span, targets=targets, items=items, body=flow(need(node, "do", "for")), name=weights_name(node))


def _if(node: Mapping, flow: ReadFlow) -> If:
    condition, then, other = formula(node, "if", "if"), need(node, "then", "if"), node.get("else")
    return If(span=node.span, condition=condition, then=flow(then), otherwise=flow(other) if other is not None else None)


def _modules(node: Mapping, flow: ReadFlow) -> Modules:
    return modules(need(node, "modules", "modules"))


def modules(node: Node) -> Modules:
    """A `modules:` mapping. Raises Fault."""
    if not isinstance(node, Mapping):
        raise Fault("step", "`modules` must be a mapping from names to what they call", node.span, "write modules: {A: {linear: 8}}")
    return Modules(span=node.span, entries=node.entries)


def _scan(node: Mapping, flow: ReadFlow) -> Scan:
    body = section(node, "scan", required=("over", "do"), optional=("values", "carry", "collect"))
    return Scan(
        span=node.span,
        over=formula(body, "over", "scan"),
        values=formulas(body.get("values")),
        carry=formulas(body.get("carry")),
        body=flow(need(body, "do", "scan")),
        collect=collected(body.get("collect")),
    )


def _iterate(node: Mapping, flow: ReadFlow) -> Iterate:
    body = section(node, "iterate", required=("carry", "do", "until", "at_most"))
    until, bound = formula(body, "until", "iterate"), formula(body, "at_most", "iterate")
    return Iterate(span=node.span, carry=formulas(body.get("carry")), body=flow(need(body, "do", "iterate")), until=until, at_most=bound)


def _map(node: Mapping, flow: ReadFlow) -> Map:
    body = section(node, "map", required=("over", "values", "do", "collect"))
    return Map(
        span=node.span,
        over=formula(body, "over", "map"),
        values=formulas(body.get("values")),
        body=flow(need(body, "do", "map")),
        collect=collected(body.get("collect")),
    )


STRUCTURES: dict[str, tuple[Callable[[Mapping, ReadFlow], Step], tuple[str, ...]]] = {  # and the keys that may stand beside each
    "residual": (_residual, ("skip", "name")),
    "branches": (_branches, ("merge", "dim", "name")),
    "repeat": (_repeat, ("do", "name")),
    "for": (_for, ("do", "name")),
    "if": (_if, ("then", "else")),
    "modules": (_modules, ()),
    "scan": (_scan, ()),
    "iterate": (_iterate, ()),
    "map": (_map, ()),
}
