"""What a name can stand for while a spec is elaborated: values, callees, and arguments that wait for their type."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lamina.compiler.elaborate.scope import Label, Scope
from lamina.compiler.op import Op
from lamina.schema.diagnostics import Span
from lamina.schema.expressions import Expression
from lamina.schema.spec import Block, File, Flow
from lamina.schema.tree import Node


class Poisoned(Exception):
    """The value comes from a step that already failed: nothing more is said about it."""


class Unknown:
    """Stands for the result of a failed step."""


UNKNOWN = Unknown()


@dataclass(slots=True)
class Frame:
    """The names that an expression sees: locals, then arguments, then the file's config, then its dims."""

    file: File
    values: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)
    globals: dict[str, Any] = field(default_factory=dict)
    lost: bool = False  # a failed step may have set names that are not known here

    def lookup(self, name: str) -> Any:
        """The value of a name. Raises KeyError."""
        for names in (self.values, self.arguments, self.globals):
            if name in names:
                return names[name]
        raise KeyError(name)

    def visible(self) -> list[str]:
        return [*self.values, *self.arguments, *self.globals]

    def inner(self, x: Any) -> Frame:
        """A frame that sees this one's names but keeps its own assignments: for flows passed as arguments."""
        return Frame(self.file, {**self.values, "x": x}, self.arguments, dict(self.modules), self.globals, self.lost)


@dataclass(frozen=True, slots=True)
class Given:
    """One argument of a call, evaluated when the type that is due is known."""

    span: Span
    frame: Frame
    source: Node | ast.expr | None = None
    expression: Expression | None = None
    value: Any = None
    key: Span | None = None  # where its name is written
    scope: Scope | None = None  # where what it makes is named, if not in the scope of what it is given to

    @property
    def by_position(self) -> bool:
        return self.key is None


@dataclass(frozen=True, slots=True)
class Request:
    """What a call is given. `inputs` are positional inputs and then arguments; `arguments` are positional arguments only."""

    span: Span
    inputs: tuple[Given, ...] = ()
    arguments: tuple[Given, ...] = ()
    named: Mapping[str, Given] = field(default_factory=dict)
    label: Label | None = None  # without one, weights are named by the callee


@dataclass(frozen=True, slots=True)
class OpCallee:
    """An op by name."""

    op: type[Op]

    @property
    def name(self) -> str:
        return self.op.name


@dataclass(frozen=True, slots=True)
class BlockCallee:
    """A block and the file whose names its body sees."""

    block: Block
    file: File

    @property
    def name(self) -> str:
        return self.block.name


@dataclass(frozen=True, slots=True)
class FlowCallee:
    """Steps written in place, with the frame they were written in."""

    flow: Flow
    frame: Frame
    name: str = "flow"


@dataclass(frozen=True, slots=True)
class Partial:
    """A callee with some of its arguments."""

    callee: Callee
    positional: tuple[Given, ...]
    named: Mapping[str, Given]

    @property
    def name(self) -> str:
        return self.callee.name


@dataclass(frozen=True, slots=True)
class Module:
    """A callee whose weights live at one path."""

    callee: Callee
    path: str
    name: str
    span: Span


@dataclass(slots=True)
class Original:
    """What stands under an adaptation, as it was called: to be called with another first input, perhaps several times."""

    run: Callable[[Any], Any]
    name: str = "step"


Callee = OpCallee | BlockCallee | FlowCallee | Partial | Module | Original
CALLEES = (OpCallee, BlockCallee, FlowCallee, Partial, Module, Original)
