"""What a name can stand for while a spec is elaborated."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

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
class Scope:
    """Where weights are named: the dotted path so far, and how often each name was used in it."""

    path: str = ""
    shared: bool = False  # inside a module: the same names mean the same weights
    counts: dict[str, int] = field(default_factory=dict)

    def join(self, name: str) -> str:
        """The path of a name in this scope; of no name, the scope's own."""
        return f"{self.path}.{name}" if self.path and name else self.path or name

    def unique(self, name: str) -> str:
        """The name, with a number from its second use on."""
        self.counts[name] = self.counts.get(name, 0) + 1
        return name if self.counts[name] == 1 else f"{name}_{self.counts[name]}"

    def child(self, name: str) -> Scope:
        return Scope(self.join(name), self.shared)


@dataclass(frozen=True, slots=True)
class Label:
    """What a call's weights are named by: a `name:` (fixed), or the word that was called (numbered from its second use on)."""

    text: str
    fixed: bool = True


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
    named: dict[str, Given]

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


Callee = OpCallee | BlockCallee | FlowCallee | Partial | Module
CALLEES = (OpCallee, BlockCallee, FlowCallee, Partial, Module)
