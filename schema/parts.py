"""Parts of a mapping that a step is made of: one value, required keys, formulas by name."""

from __future__ import annotations

from lamina.schema.diagnostics import Fault, did_you_mean
from lamina.schema.expressions import Expression, parse_expression
from lamina.schema.tree import Mapping, Node, Scalar, Sequence


def scalar(node: Node, what: str) -> Scalar:
    """The node as a scalar. Raises Fault."""
    if isinstance(node, Scalar):
        return node
    raise Fault("type", f"{what} must be one value, not a {'list' if isinstance(node, Sequence) else 'mapping'}", node.span)


def need(node: Mapping, key: str, owner: str) -> Node:
    """The value of a key that a structure must have. Raises Fault."""
    value = node.get(key)
    if value is None:
        hint = f"write `{key}:` with its steps below" if key in ("do", "then") else ""
        raise Fault("step", f"`{owner}` needs `{key}:`", node.span, hint)
    return value


def formula(node: Mapping, key: str, owner: str) -> Expression:
    """The expression under a key. Raises Fault."""
    return parse_expression(scalar(need(node, key, owner), f"`{key}`"))


def weights_name(node: Mapping) -> str | None:
    """`name:`, which weights are named by. Raises Fault."""
    value = node.get("name")
    if value is None:
        return None
    text = scalar(value, "`name`").text
    if not all(part.isidentifier() or part.isdigit() for part in text.split(".")):
        raise Fault("step", f"`{text}` cannot name weights", value.span, "use letters, digits, `_`, and dots between parts")
    return text


def section(node: Mapping, key: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Mapping:
    """The mapping under a structure's key, with the keys that it may and must have. Raises Fault."""
    body, known = node.get(key), required + optional
    if not isinstance(body, Mapping):
        raise Fault("step", f"`{key}` needs a mapping with {', '.join(required)}", node.span)
    for name, _ in body:
        if name.text not in known:
            hint = did_you_mean(name.text, known) or f"its keys are {', '.join(known)}"
            raise Fault("step", f"`{name.text}` does not belong to `{key}`", name.span, hint)
    for name_needed in required:
        if body.get(name_needed) is None:
            raise Fault("step", f"`{key}` needs `{name_needed}:`", node.span)
    return body


def formulas(node: Node | None) -> tuple[tuple[str, Expression], ...]:
    """Names and their expressions. Raises Fault."""
    if node is None:
        return ()
    if not isinstance(node, Mapping):
        raise Fault("step", "this must be a mapping from names to expressions", node.span, "write {h: zeros([8])}")
    return tuple((k.text, parse_expression(scalar(v, f"`{k.text}`"))) for k, v in node)


def collected(node: Node | None) -> tuple[tuple[str, str], ...]:
    """Names and the texts beside them. Raises Fault."""
    return tuple((name, found.source.text) for name, found in formulas(node))
