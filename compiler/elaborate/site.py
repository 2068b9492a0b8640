"""Where an expression stands: what the parts of the evaluator are handed."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.lookup import need_op
from lamina.compiler.elaborate.values import Callee, Frame, Given, Request
from lamina.compiler.graph import Value
from lamina.schema.diagnostics import Fault, Span
from lamina.schema.expressions import Expression


@dataclass(frozen=True, slots=True)
class Site(ABC):
    """One expression in one frame. Its parts are evaluated through it, because any part may hold any other."""

    context: Context
    expression: Expression
    frame: Frame

    @abstractmethod
    def value(self, tree: ast.expr) -> Any:
        """The value of a tree. Raises Fault (placed) or Poisoned."""

    @abstractmethod
    def callee(self, tree: ast.expr) -> Callee | list[Any] | None:
        """The value of a tree where a block is due: names are looked up as callees first, and calls are partial applications."""

    def place(self, tree: ast.AST) -> Span:
        return self.expression.place(tree)

    def truth(self, tree: ast.expr) -> bool:
        """A compile-time condition. Raises Fault for a tensor."""
        result = self.value(tree)
        if isinstance(result, Value):
            message = f"`{ast.unparse(tree)}` is a tensor, and a condition is decided at compile time"
            raise Fault("type", message, self.place(tree), "use where(condition, a, b) to choose between tensors")
        return bool(result)

    def apply(self, op: str, tree: ast.expr, *inputs: Any, **arguments: Any) -> Any:
        """An operator on tensors: a call of the op that it stands for."""
        place = self.place(tree)
        named = {k: Given(place, self.frame, value=v) for k, v in arguments.items()}
        given = tuple(Given(place, self.frame, value=v) for v in inputs)
        return self.context.call(need_op(op), Request(place, given, named=named))
