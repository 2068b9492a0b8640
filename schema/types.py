"""Types of config values and block arguments, as users write them: `int`, `list[block]`, `float = 4`, `int | None = None`."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from lamina.schema.diagnostics import Fault, did_you_mean
from lamina.schema.expressions import NOT_PYTHON, Expression, parse_expression, parse_python
from lamina.schema.tree import Node, Scalar, Sequence

KINDS = ("int", "float", "bool", "str", "size", "dtype", "block", "list")
_DECLARATION = re.compile(r"\s*(int|float|bool|str|size|dtype|block|list)\b[^=]*=(?!=)")


@dataclass(frozen=True, slots=True)
class TypeDecl:
    """A type, and the default as an expression (declared) or as raw YAML (a literal)."""

    kind: str
    item: TypeDecl | None = None
    optional: bool = False
    default: Expression | Node | None = None

    def __str__(self) -> str:
        text = f"list[{self.item}]" if self.item else self.kind
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
    default = parse_expression(source, len(left) + 1)
    return TypeDecl(expression.kind, expression.item, expression.optional, default)


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
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr) and isinstance(tree.right, ast.Constant) and tree.right.value is None:
        inner = _build(tree.left, text, source)
        return TypeDecl(inner.kind, inner.item, True)
    raise _unknown(text, source)


def _unknown(text: str, source: Scalar) -> Fault:
    hint = did_you_mean(text, KINDS) or "types are int, float, bool, str, size, dtype, block, list[T], and T | None"
    return Fault("type", f"`{text}` is not a type", source.span, hint)
