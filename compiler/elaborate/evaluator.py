"""Expressions: a syntax tree and a frame give a compile-time value, a tensor, or (in block position) a callee."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, final

from lamina.compiler.elaborate.bounds import bounded, weight
from lamina.compiler.elaborate.callees import callee_of
from lamina.compiler.elaborate.comprehensions import comprehension
from lamina.compiler.elaborate.expression_calls import call
from lamina.compiler.elaborate.indexing import subscript
from lamina.compiler.elaborate.names import named, value_or_callee
from lamina.compiler.elaborate.operators import binary, boolean, comparison, unary
from lamina.compiler.elaborate.site import Site
from lamina.compiler.elaborate.values import UNKNOWN, Callee, Poisoned
from lamina.schema.diagnostics import Fault


@final
@dataclass(frozen=True, slots=True)
class Evaluator(Site):
    """Evaluates one expression in one frame."""

    def value(self, tree: ast.expr) -> Any:
        self.context.budget.work(1)
        try:
            result = self._value(tree)
        except Fault as fault:
            fault.span = fault.span or self.place(tree)
            raise
        except ZeroDivisionError as error:
            raise Fault("expression", f"`{ast.unparse(tree)}` has no value: it divides by zero", self.place(tree)) from error
        except OverflowError as error:
            raise Fault("expression", f"`{ast.unparse(tree)}` has no value: the result is too large", self.place(tree)) from error
        except (TypeError, ValueError) as error:  # what no rule above foresees
            raise Fault("expression", f"`{ast.unparse(tree)}` cannot be computed from these values", self.place(tree)) from error
        if result is UNKNOWN:
            raise Poisoned
        if isinstance(result, list):
            self.context.budget.work(weight(result))
        return bounded(result)

    def callee(self, tree: ast.expr) -> Callee | list[Any] | None:
        return callee_of(self, tree)

    def _value(self, tree: ast.expr) -> Any:
        match tree:
            case ast.Constant():
                return tree.value
            case ast.Name():
                return named(self, tree.id)
            case ast.Call():
                return call(self, tree)
            case ast.BinOp():
                return binary(self, tree)
            case ast.Subscript():
                return subscript(self, tree)
            case ast.List() | ast.Tuple():
                return [value_or_callee(self, e) for e in tree.elts]
            case _:
                return self._rarer(tree)

    def _rarer(self, tree: ast.expr) -> Any:
        match tree:
            case ast.UnaryOp():
                return unary(self, tree)
            case ast.Compare():
                return comparison(self, tree)
            case ast.BoolOp():
                return boolean(self, tree)
            case ast.IfExp():
                return self.value(tree.body if self.truth(tree.test) else tree.orelse)
            case ast.ListComp():
                return comprehension(self, tree)
        raise AssertionError(f"{type(tree).__name__} passed the whitelist")


def evaluate(site: Site) -> Any:
    """The value of the whole expression."""
    return site.value(site.expression.tree)
