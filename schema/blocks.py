"""`blocks:`: reusable parts of a network."""

from __future__ import annotations

from lamina.schema.declarations import state_decl
from lamina.schema.diagnostics import Fault
from lamina.schema.reading import Reading
from lamina.schema.root import check_keys
from lamina.schema.spec import Argument, Block
from lamina.schema.structures import modules
from lamina.schema.tree import Mapping, Node, Scalar, Sequence
from lamina.schema.types import default_in_place, literal_type, parse_type

_KEYS = ("summary", "args", "inputs", "state", "modules", "body", "result")


def read_block(reading: Reading, key: Scalar, node: Node) -> Block | None:
    """One block; None when its arguments are not known, so that its calls cannot be judged. Raises Fault."""
    if not key.text.isidentifier():
        raise Fault("name", f"`{key.text}` cannot name a block", key.span, "use letters, digits and `_`")
    if not isinstance(node, Mapping):
        raise Fault("type", f"the block `{key.text}` must be a mapping with `body:`", node.span)
    check_keys(reading, node, _KEYS, "a block")
    if node.get("body") is None:
        raise Fault("missing-key", f"the block `{key.text}` has no `body:`", key.span, "add `body:` with its steps")
    block = _block(reading, key, node)
    written = node.get("args")
    return None if isinstance(written, Mapping) and len(block.args) < len(written.entries) else block


def _block(reading: Reading, key: Scalar, node: Mapping) -> Block:
    body, inputs = node.get("body"), node.get("inputs")
    assert body is not None
    names, optional = (("x",), frozenset[str]()) if inputs is None else _inputs(inputs)
    return Block(
        span=key.span,
        name=key.text,
        summary=reading.text(node, "summary"),
        args=tuple(reading.each(node.get("args"), "args", _argument).values()),
        inputs=names,
        optional=optional,
        state=tuple(reading.each(node.get("state"), "state", state_decl).values()),
        modules=reading.attempt(modules, node.get("modules")),
        body=reading.steps.flow(body, node.get("result")),
    )


def _argument(key: Scalar, node: Node) -> Argument:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return Argument(span=key.span, name=key.text, type=parse_type(node))
    return Argument(span=key.span, name=key.text, type=default_in_place(node) or literal_type(node))


def _inputs(node: Node) -> tuple[tuple[str, ...], frozenset[str]]:
    """The names of a block's inputs, and those that are written `u = null`. Raises Fault."""
    names: list[str] = []
    optional: set[str] = set()
    for item in node.items if isinstance(node, Sequence) else ():
        name, default = _input(item)
        if optional and not default:
            hint = "write the inputs that may be left out last"
            raise Fault("type", f"the input `{name}` must be given, but it follows one that may be left out", item.span, hint)
        names.append(name)
        optional |= {name} if default else set()
    if not isinstance(node, Sequence):
        raise Fault("type", "this must be a list of names", node.span, "write [u, f]")
    return tuple(names), frozenset(optional)


def _input(node: Node) -> tuple[str, bool]:
    """`u`, or `u = null`."""
    name, equals, default = (part.strip() for part in (node.text if isinstance(node, Scalar) else "").partition("="))
    if not name.isidentifier():
        raise Fault("type", "this must be a list of names", node.span, "write [u, f]")
    if equals and default not in ("null", "None"):
        raise Fault("type", f"an input can only default to null, not to `{default}`", node.span, f'write "{name} = null"')
    return name, bool(equals)
