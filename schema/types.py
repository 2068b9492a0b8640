"""Types of config values and block arguments, as users write them: `int`, `list[block]`, `float = 4`, `int | None = None`, `'a' | 'b'`."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace

from lamina.schema.diagnostics import Fault, did_you_mean
from lamina.schema.expressions import NOT_PYTHON, Expression, parse_expression, parse_python
from lamina.schema.tree import Mapping, Node, Scalar, Sequence

KINDS = ("int", "float", "bool", "str", "size", "dtype", "block", "list")
_DECLARATION = re.compile(r"\s*((int|float|bool|str|size|dtype|block|list)\b|'\w+'\s*\|)[^=]*=(?!=)")


@dataclass(frozen=True, slots=True)
class TypeDecl:
    """A type, and the default as an expression (declared) or as raw YAML (a literal). A `str` with `choices` is one of these texts."""

    kind: str
    item: TypeDecl | None = None
    optional: bool = False
    default: Expression | Node | None = None
    choices: tuple[str, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether it is a block, or a list of blocks."""
        return self.kind == "block" or (self.item is not None and self.item.blocks)

    def __str__(self) -> str:
        text = " | ".join(map(repr, self.choices)) or (f"list[{self.item}]" if self.item else self.kind)
        return f"{text} | None" if self.optional else text


def is_declaration(text: str) -> bool:
    """Whether a config string declares a type and default rather than being a text."""
    return bool(_DECLARATION.match(text))


def parse_type(source: Scalar) -> TypeDecl:
    """Parse `type` or `type = default`. Raises Fault."""
    left, equals, _ = source.text.partition("=")
    expression = parse_type_expression(left, source)
    if not equals:
        return expression
    return replace(expression, default=parse_expression(source, len(left) + 1))


def default_in_place(node: Node) -> TypeDecl | None:
    """`{type: block, default: [steps]}`: a default that is no expression. None for any other node. Raises Fault."""
    if not isinstance(node, Mapping) or {key.text for key, _ in node} != {"type", "default"}:
        return None
    kind = node.get("type")
    if not isinstance(kind, Scalar) or not (declared := parse_type_expression(kind.text, kind)).blocks:
        raise Fault("type", "only a block's default is written in place", node.span, 'declare others in one text, such as "int = 3"')
    return replace(declared, default=node.get("default"))


def parse_type_expression(text: str, source: Scalar) -> TypeDecl:
    """Parse the type part of a declaration."""
    try:
        tree = parse_python(text.strip())
    except NOT_PYTHON as error:
        raise _unknown(text.strip(), source) from error
    return _build(tree, text.strip(), source)


def literal_type(node: Node) -> TypeDecl:
    """The type of a literal default. Raises Fault for a list whose elements differ."""
    return TypeDecl(*_kind_of(node), default=node)


def _kind_of(node: Node) -> tuple[str, TypeDecl | None, bool]:
    if isinstance(node, Sequence):
        kinds = [TypeDecl(*_kind_of(item)) for item in node.items]
        if not kinds:
            raise Fault("type", "the type of an empty list is not known", node.span, 'declare it, such as "list[int] = []"')
        names = {str(k) for k in kinds}
        if names == {"int", "float"}:
            return "list", TypeDecl("float"), False
        if len(names) > 1:
            raise Fault(
                "type",
                f"the elements of this list have different types: {', '.join(sorted(names))}",
                node.span,
                'declare the type, such as "list[float] = [...]"',
            )
        return "list", kinds[0], False
    if isinstance(node, Scalar):
        if node.value is None:
            raise Fault("type", "the type of null is not known", node.span, 'declare it, such as "int | None = None"')
        return type(node.value).__name__, None, False
    raise Fault("type", "a mapping is not a config value", node.span, "give each value a name of its own")


def _build(tree: ast.expr, text: str, source: Scalar) -> TypeDecl:
    if isinstance(tree, ast.Name) and tree.id in KINDS and tree.id != "list":
        return TypeDecl(tree.id)
    if isinstance(tree, ast.Subscript) and isinstance(tree.value, ast.Name) and tree.value.id == "list":
        return TypeDecl("list", _build(tree.slice, text, source))
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return TypeDecl("str", choices=(tree.value,))
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        left = _build(tree.left, text, source)
        if isinstance(tree.right, ast.Constant) and tree.right.value is None:
            return replace(left, optional=True)
        right = _build(tree.right, text, source)
        if left.choices and right.choices:
            return replace(left, choices=left.choices + right.choices)
    raise _unknown(text, source)


def _unknown(text: str, source: Scalar) -> Fault:
    hint = did_you_mean(text, KINDS) or "types are int, float, bool, str, size, dtype, block, 'one' | 'other', list[T], and T | None"
    return Fault("type", f"`{text}` is not a type", source.span, hint)
