"""Expressions: a syntax tree and a frame give a compile-time value, a tensor, or (in block position) a callee."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lamina.compiler.elaborate.functions import ARITHMETIC, FUNCTIONS, ON_TENSORS, bounded, compared, weight
from lamina.compiler.elaborate.indexing import index_list, index_tensor
from lamina.compiler.elaborate.values import CALLEES, UNKNOWN, Callee, Frame, Given, Label, OpCallee, Partial, Poisoned
from lamina.compiler.elaborate.words import shown
from lamina.compiler.graph import Value
from lamina.schema.diagnostics import Fault, did_you_mean
from lamina.schema.expressions import Expression

if TYPE_CHECKING:
    from lamina.compiler.elaborate.elaborator import Elaborator

_WORDS = {"true": True, "false": False, "null": None}


class Evaluator:
    """Evaluates one expression in one frame."""

    def __init__(self, elaborator: Elaborator, expression: Expression, frame: Frame) -> None:
        self.elaborator, self.expression, self.frame = elaborator, expression, frame

    def value(self, tree: ast.expr) -> Any:
        """The value of a tree. Raises Fault (placed) or Poisoned."""
        self.elaborator.work(1)
        method = getattr(self, f"_{type(tree).__name__}")
        try:
            result = method(tree)
        except Fault as fault:
            fault.span = fault.span or self.expression.place(tree)
            raise
        except (TypeError, ValueError, ZeroDivisionError, OverflowError, IndexError, AttributeError) as error:
            raise Fault("expression", f"`{ast.unparse(tree)}` has no value: {error}", self.expression.place(tree)) from error
        if result is UNKNOWN:
            raise Poisoned
        if isinstance(result, list):
            self.elaborator.work(weight(result))
        return bounded(result)

    def callee(self, tree: ast.expr) -> Callee | list[Any] | None:
        """The value of a tree where a block is due: names are looked up as callees first, and calls are partial applications."""
        if isinstance(tree, ast.Name) and tree.id not in self.frame.values:
            found = self.elaborator.find_callee(tree.id, self.frame)
            if found is not None:
                return found
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
            positional, named = self._arguments(tree)
            inner = self.elaborator.need_callee(tree.func.id, self.frame, self.expression.place(tree.func))
            return Partial(inner, tuple(positional), named)
        if isinstance(tree, ast.IfExp):
            return self.callee(tree.body if self.truth(tree.test) else tree.orelse)
        if isinstance(tree, ast.List):
            return [self.callee(e) for e in tree.elts]
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult | ast.Add):
            sides = [self.callee(s) if isinstance(s, ast.List) else self.value(s) for s in (tree.left, tree.right)]
            return bounded(ARITHMETIC[type(tree.op)](*sides))  # type: ignore[no-any-return]
        result = None if self._names_nothing(tree) else self.value(tree)
        if result is None and isinstance(tree, ast.Constant):
            return None
        if isinstance(result, CALLEES) or (isinstance(result, list) and all(isinstance(r, CALLEES) for r in result)):
            return result
        if isinstance(tree, ast.Name) and result is None:
            return self.elaborator.need_callee(tree.id, self.frame, self.expression.place(tree))
        raise Fault(
            "type", f"`{ast.unparse(tree)}` is not a block", self.expression.place(tree), "name an op or block, or write steps in [ ]"
        )

    def _names_nothing(self, tree: ast.expr) -> bool:
        return isinstance(tree, ast.Name) and tree.id not in _WORDS and tree.id not in self.frame.visible()

    def truth(self, tree: ast.expr) -> bool:
        """A compile-time condition. Raises Fault for a tensor."""
        result = self.value(tree)
        if isinstance(result, Value):
            raise Fault(
                "type",
                f"`{ast.unparse(tree)}` is a tensor, and a condition is decided at compile time",
                self.expression.place(tree),
                "use where(condition, a, b) to choose between tensors",
            )
        return bool(result)

    def _Constant(self, tree: ast.Constant) -> Any:
        return tree.value

    def _Name(self, tree: ast.Name) -> Any:
        if tree.id in _WORDS:
            return _WORDS[tree.id]
        try:
            return self.frame.lookup(tree.id)
        except KeyError:
            pass
        if self.elaborator.find_callee(tree.id, self.frame) is not None:
            raise Fault("type", f"`{tree.id}` is something to call, not a value", hint=f"write `{tree.id}(x)`")
        if self.frame.lost:
            raise Poisoned
        known = self.frame.visible()
        if tree.id == "x":
            raise Fault("undefined-name", "there is no current value `x` here", hint=f"name one: {', '.join(known[:8])}")
        if tree.id in self.elaborator.later:
            raise Fault(
                "undefined-name", f"`{tree.id}` is not defined here", hint=f"a default sees the entries above it only: move `{tree.id}` up"
            )
        raise Fault("undefined-name", f"`{tree.id}` is not defined here", hint=did_you_mean(tree.id, known) or _known_hint(known))

    def _List(self, tree: ast.List) -> list[Any]:
        return [self.value(e) for e in tree.elts]

    def _Tuple(self, tree: ast.Tuple) -> list[Any]:
        return [self.value(e) for e in tree.elts]

    def _IfExp(self, tree: ast.IfExp) -> Any:
        return self.value(tree.body if self.truth(tree.test) else tree.orelse)

    def _BoolOp(self, tree: ast.BoolOp) -> Any:
        stop = isinstance(tree.op, ast.Or)
        return stop if any(self.truth(v) is stop for v in tree.values) else not stop

    def _UnaryOp(self, tree: ast.UnaryOp) -> Any:
        value = self.value(tree.operand)
        if isinstance(value, Value):
            return value if isinstance(tree.op, ast.UAdd) else self._op(ON_TENSORS[type(tree.op)], tree, value)
        return not value if isinstance(tree.op, ast.Not) else +value if isinstance(tree.op, ast.UAdd) else -value

    def _BinOp(self, tree: ast.BinOp) -> Any:
        a, b = self.value(tree.left), self.value(tree.right)
        if isinstance(a, Value) or isinstance(b, Value):
            if isinstance(a, list) or isinstance(b, list):
                raise Fault("type", "a list and a tensor cannot be combined", hint="index the list, or concat it")
            return self._op(ON_TENSORS[type(tree.op)], tree, a, b)
        if isinstance(tree.op, ast.MatMult):
            raise Fault("type", "`@` needs tensors")
        try:
            return ARITHMETIC[type(tree.op)](a, b)
        except TypeError as error:
            raise Fault("type", f"`{ast.unparse(tree)}` cannot be computed from {shown(a)} and {shown(b)}") from error

    def _Compare(self, tree: ast.Compare) -> Any:
        left = self.value(tree.left)
        for op, node in zip(tree.ops, tree.comparators, strict=True):
            right = self.value(node)
            if (isinstance(left, Value) or isinstance(right, Value)) and type(op) in ON_TENSORS:
                if len(tree.ops) > 1:
                    raise Fault("expression", "a chain of comparisons needs compile-time values", hint="write logical_and(a < b, b < c)")
                return self._op(ON_TENSORS[type(op)], tree, left, right)
            if not compared(op, left, right):
                return False
            left = right
        return True

    def _Subscript(self, tree: ast.Subscript) -> Any:
        value = self.value(tree.value)
        items = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        indices = [self._index(i) for i in items]
        if isinstance(value, Value):
            return index_tensor(lambda op, *a, **k: self._op(op, tree, *a, **k), value, indices)
        return index_list(value, indices, ast.unparse(tree.value))

    def _index(self, tree: ast.expr) -> Any:
        if isinstance(tree, ast.Slice):
            return slice(*(None if p is None else self.value(p) for p in (tree.lower, tree.upper, tree.step)))
        return self.value(tree)

    def _ListComp(self, tree: ast.ListComp) -> list[Any]:
        saved = dict(self.frame.values)
        try:
            return self._comprehend(tree.elt, tree.generators)
        finally:
            self.frame.values.clear()
            self.frame.values.update(saved)

    def _comprehend(self, element: ast.expr, generators: list[ast.comprehension]) -> list[Any]:
        if not generators:
            return [self.value(element)]
        head, *rest = generators
        items, found = self.value(head.iter), []
        if not isinstance(items, list):
            raise Fault("type", f"`{ast.unparse(head.iter)}` is not a list", self.expression.place(head.iter))
        for item in items:
            self._bind(head.target, item)
            if all(self.truth(test) for test in head.ifs):
                found += self._comprehend(element, rest)
        return bounded(found)  # type: ignore[no-any-return]

    def _bind(self, target: ast.expr, item: Any) -> None:
        names = target.elts if isinstance(target, ast.Tuple | ast.List) else None
        if names is None:
            assert isinstance(target, ast.Name)
            self.frame.values[target.id] = item
            return
        for name, part in zip(names, item, strict=True):
            self._bind(name, part)

    def _Call(self, tree: ast.Call) -> Any:
        place = self.expression.place(tree)
        if not isinstance(tree.func, ast.Name):
            found = self.callee(tree.func)
            if isinstance(found, list) or found is None:
                raise Fault("type", f"`{ast.unparse(tree.func)}` is not something to call", self.expression.place(tree.func))
            return self.elaborator.call(found, *self._arguments(tree), self.frame, place)
        name = tree.func.id
        if name in ("shape", "rank", "dtype") and len(tree.args) == 1:
            return self._about(name, tree.args[0])
        callee = self.elaborator.find_callee(name, self.frame)
        if name in FUNCTIONS and not tree.keywords and (callee is None or isinstance(callee, OpCallee)):
            values = [self.value(a) for a in tree.args]
            if callee is None or not any(_holds_tensor(v) for v in values):
                return FUNCTIONS[name](*values)
            given = [Given(self.expression.place(a), self.frame, value=v) for a, v in zip(tree.args, values, strict=True)]
            return self.elaborator.call(callee, given, {}, self.frame, place, label=Label(name, fixed=False))
        callee = self.elaborator.need_callee(name, self.frame, self.expression.place(tree.func))
        return self.elaborator.call(callee, *self._arguments(tree), self.frame, place, label=Label(name, fixed=False))

    def _about(self, name: str, tree: ast.expr) -> Any:
        value = self.value(tree)
        if not isinstance(value, Value):
            raise Fault("type", f"`{name}` needs a tensor, and `{ast.unparse(tree)}` is {value!r}", self.expression.place(tree))
        return list(value.shape) if name == "shape" else value.rank if name == "rank" else value.dtype

    def _arguments(self, tree: ast.Call) -> tuple[list[Given], dict[str, Given]]:
        def given(node: ast.expr) -> Given:
            return Given(self.expression.place(node), self.frame, node, self.expression)

        named = {k.arg: replace(given(k.value), key=self.expression.place(k)) for k in tree.keywords if k.arg}
        return [given(a) for a in tree.args], named

    def _op(self, name: str, tree: ast.expr, *inputs: Any, **arguments: Any) -> Any:
        place = self.expression.place(tree)
        positional = [Given(place, self.frame, value=v) for v in inputs]
        named = {k: Given(place, self.frame, value=v) for k, v in arguments.items()}
        return self.elaborator.call(self.elaborator.need_callee(name, self.frame, place), positional, named, self.frame, place)


def _known_hint(known: list[str]) -> str:
    return f"known here: {', '.join(known[:12])}" if known else ""


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, Value) or (isinstance(value, list) and any(_holds_tensor(v) for v in value))
