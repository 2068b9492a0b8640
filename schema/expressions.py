"""The expression language: text to a syntax tree, by Python's parser and a whitelist. Nothing here executes anything."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache

from lamina.schema.diagnostics import Fault, Span
from lamina.schema.tree import Scalar

MAX_LENGTH = 10_000
MAX_DEPTH = 100
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)

_ALLOWED = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp,
    ast.List, ast.Tuple, ast.Subscript, ast.Slice, ast.Call, ast.keyword, ast.ListComp, ast.comprehension,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult, ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot,
)  # fmt: skip
_WHAT: dict[type[ast.AST], tuple[str, str]] = {
    ast.Attribute: ("attribute access", "write `shape(x)`, `rank(x)` or a plain name"),
    ast.Lambda: ("a lambda", "write a block"),
    ast.JoinedStr: ("an f-string", "write a plain string"),
    ast.NamedExpr: ("`:=`", "write the assignment as a step of its own"),
    ast.Dict: ("a dict", "pass arguments by name"),
    ast.Set: ("a set", "write a list"),
    ast.GeneratorExp: ("a generator", "put it in [ ] to make it a list"),
    ast.DictComp: ("a dict comprehension", "write a list comprehension"),
    ast.SetComp: ("a set comprehension", "write a list comprehension"),
    ast.Starred: ("`*` unpacking", "write the elements out"),
    ast.Await: ("`await`", ""),
    ast.Yield: ("`yield`", ""),
    ast.BitAnd: ("`&`", "write `and`, `logical_and(a, b)` or `bitwise_and(a, b)`"),
    ast.BitOr: ("`|`", "write `or`, `logical_or(a, b)` or `bitwise_or(a, b)`"),
    ast.BitXor: ("`^`", "write `**` for a power or `bitwise_xor(a, b)`"),
    ast.Invert: ("`~`", "write `not` or `bitwise_not(a)`"),
    ast.LShift: ("`<<`", "write `shift_left(a, b)` or `* 2 ** n`"),
    ast.RShift: ("`>>`", "write `shift_right(a, b)` or `// 2 ** n`"),
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked syntax tree and the scalar it came from (for positions)."""

    tree: ast.expr
    source: Scalar
    offset: int = 0  # where the parsed text starts within the scalar

    @property
    def span(self) -> Span:
        return self.source.span

    def place(self, node: ast.AST) -> Span:
        """The position of a part of the expression."""
        column = getattr(node, "col_offset", 0)
        end = getattr(node, "end_col_offset", None)
        if getattr(node, "lineno", 1) != 1:
            return self.span
        return self.source.at(self.offset + column, (end or column + 1) - column)


@dataclass(frozen=True, slots=True)
class Assignment:
    """`a, b = expression`; no targets for a bare expression."""

    targets: tuple[str, ...]
    value: Expression


_TARGETS = re.compile(r"\s*([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)\s*,?\s*=(?!=)")


def parse_expression(source: Scalar, offset: int = 0) -> Expression:
    """Parse a scalar's text (from `offset` on) as one expression. Raises Fault when it is not in the language."""
    text = source.text[offset:]
    lead = len(text) - len(text.lstrip())
    return Expression(_parsed(text.strip(), source, offset + lead), source, offset + lead)


def parse_statement(source: Scalar) -> Assignment:
    """Parse `expression` or `a, b = expression`."""
    match = _TARGETS.match(source.text)
    if not match:
        return Assignment((), parse_expression(source))
    targets = tuple(t.strip() for t in match.group(1).split(","))
    for target in targets:
        if target.startswith("__"):
            raise Fault("expression", f"`{target}` is not a name of the language", source.span, "names do not start with two underscores")
    return Assignment(targets, parse_expression(source, match.end()))


def is_statement(text: str) -> bool:
    """Whether a step's text is an expression or assignment rather than one lone name."""
    return not text.isidentifier()


def names_in(tree: ast.AST) -> set[str]:
    """Every name that occurs in a tree."""
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}


def _parsed(text: str, source: Scalar, offset: int) -> ast.expr:
    result = _parse_text(text)
    if isinstance(result, ast.expr):
        return result
    message, hint, column = result
    raise Fault("expression", message, source.at(offset + column, 1), hint)


@lru_cache(maxsize=8192)
def _parse_text(text: str) -> ast.expr | tuple[str, str, int]:
    if len(text) > MAX_LENGTH:
        return f"the expression has {len(text)} characters, more than {MAX_LENGTH}", "split it into steps", 0
    if not text:
        return "the expression is empty", "", 0
    try:
        tree = parse_python(text.replace("\n", " "))
    except SyntaxError as error:
        return _syntax_problem(text, error)
    except (ValueError, RecursionError, MemoryError):
        return f"`{_short(text)}` is not an expression", "", 0
    return _refused(tree, 0) or tree


def _refused(node: ast.AST, depth: int) -> tuple[str, str, int] | None:
    column = getattr(node, "col_offset", 0)
    if depth > MAX_DEPTH:
        return f"the expression is nested more than {MAX_DEPTH} deep", "split it into steps", column
    if not isinstance(node, _ALLOWED):
        what, hint = _WHAT.get(type(node), (f"{type(node).__name__}", ""))
        return f"{what} is not part of the expression language", hint, column
    if isinstance(node, ast.Name) and node.id.startswith("__"):
        return f"`{node.id}` is not a name of the language", "names do not start with two underscores", column
    if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str | bool | None | type(...)):
        return f"a {type(node.value).__name__} is not part of the expression language", "", column
    if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name | ast.Subscript | ast.Attribute):
        return "only a name can be called", "", column
    if isinstance(node, ast.keyword) and node.arg is None:
        return "`**` unpacking is not part of the expression language", "write the arguments out", column
    for child in ast.iter_child_nodes(node):
        problem = _refused(child, depth + 1)
        if problem:
            # An operator carries no position: the expression around it does.
            return problem if hasattr(child, "col_offset") or problem[2] else (problem[0], problem[1], column)
    return None


def _syntax_problem(text: str, error: SyntaxError) -> tuple[str, str, int]:
    column = max((error.offset or 1) - 1, 0)
    if "${" in text:
        bare = _short(re.sub(r"\$\{([^}]*)\}", r"\1", text))
        return f"`{_short(text)}` is not an expression: names stand bare, without `${{}}`", f"write `{bare}`", text.index("$")
    statement = _statement(text)
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Subscript):
        return (
            f"`{ast.unparse(statement.targets[0])}` cannot be assigned to: tensors and lists do not change",
            "build a new one from its parts, as in `concat([a, b], dim=1)`",
            0,
        )
    if isinstance(statement, ast.Assign):
        return f"`{_short(text)}` is an assignment, and a value is due here", "compare with `==`", column
    if isinstance(statement, ast.AugAssign):
        whole = ast.BinOp(statement.target, statement.op, statement.value)  # only unparsed: the target's context is that of a store
        return (
            "assignments such as `+=` are not part of the language",
            f"write `{_short(ast.unparse(statement.target) + ' = ' + ast.unparse(whole))}`",
            column,
        )
    if statement is not None and not isinstance(statement, ast.Expr):
        return (
            f"`{text.split()[0]}` is not part of the expression language",
            "blocks of other files are listed under `use:`" if isinstance(statement, ast.Import | ast.ImportFrom) else "",
            0,
        )
    return f"`{_short(text)}` is not an expression: {error.msg}", "", column


def _statement(text: str) -> ast.stmt | None:
    """The Python statement that a text is, if it is one."""
    try:
        return _quietly(text, "exec").body[0]  # type: ignore[attr-defined,no-any-return]
    except (*NOT_PYTHON, IndexError):
        return None


def parse_python(text: str) -> ast.expr:
    """Python's tree of an expression. Raises one of NOT_PYTHON."""
    return _quietly(text, "eval").body  # type: ignore[attr-defined,no-any-return]


def _quietly(text: str, mode: str) -> ast.AST:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `1 is 1` and the like: ours to judge, not Python's
        return ast.parse(text, mode=mode)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
