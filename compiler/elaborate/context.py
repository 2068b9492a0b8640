"""The state of one elaboration, which every part of it is handed: scope, globals, diagnostics, and the graph so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from lamina.compiler.elaborate.adaptations import Adaptations
from lamina.compiler.elaborate.budget import Budget
from lamina.compiler.elaborate.emit import Emitter
from lamina.compiler.elaborate.scope import Scope
from lamina.compiler.elaborate.values import Callee, Frame, Poisoned, Request
from lamina.schema import spec as s
from lamina.schema.diagnostics import Collector, Fault, Note, Span
from lamina.schema.dims import Size, Symbol

if TYPE_CHECKING:
    from lamina.compiler.elaborate.again import Recording
    from lamina.compiler.elaborate.state import Left

_DEPENDS_ON_CALL = ("shape", "dtype", "type", "value", "dynamic", "index")
T = TypeVar("T")


class Context(ABC):
    """One elaboration. Calls and steps are reached through it, because expressions call blocks and blocks hold expressions."""

    def __init__(self, spec: s.ModelSpec, collector: Collector) -> None:
        self.spec = spec
        self.collector = collector
        self.collector.sources.update(spec.sources)
        self.dims: dict[str, Symbol] = {}
        self.globals: dict[str, Any] = {}  # config and dims, which the main file's blocks see
        self.later: set[str] = set()  # config entries below the one that is being evaluated
        self.scope = Scope()
        self.budget = Budget()
        self.graph = Emitter()
        self.called: set[str] = set()
        self.callers: list[tuple[str, Span]] = []  # the blocks that are being run, and where each is called
        self.passes: list[tuple[int, Span]] = []  # the unrolled loops that are being run: which pass, and where each stands
        self.depth = 0
        self.state_names = Scope()  # only counts: a path that is carried twice is numbered
        self.states: list[Left] = []  # of the calls that have ended
        self.growth: dict[str, Size] = {}  # what a call makes of a dim that its states grow along
        self.adapt = Adaptations(spec.adapt)
        self.runs: dict[Hashable, Recording | None] = {}  # calls of blocks, by all that they depend on; None: seen once
        self.in_place: dict[int, s.Flow] = {}  # steps written as arguments, by the identity of their tree

    @abstractmethod
    def call(self, callee: Callee, request: Request) -> Any:
        """Call anything with arguments that are not evaluated yet. Raises Fault or Poisoned."""

    @abstractmethod
    def run(self, flow: s.Flow, frame: Frame) -> None:
        """Run steps in order; a step that fails leaves unknown values, and the next ones are still checked. Raises Poisoned."""

    @contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        """Name weights in another scope for a while."""
        outer, self.scope = self.scope, scope
        try:
            yield
        finally:
            self.scope = outer

    def guard(self, act: Callable[[], T], span: Span) -> T | None:
        """The result, or None when the act fails: that is reported."""
        try:
            return act()
        except Fault as fault:
            self.report(fault, span)
        except Poisoned:
            pass
        return None

    def report(self, fault: Fault, span: Span) -> None:
        """Keep a diagnostic. What depends on the sizes that a block was called with says where that was, and in which pass of a loop."""
        self.budget.faults += 1
        if fault.code in _DEPENDS_ON_CALL:
            fault.notes = (*fault.notes, *(Note(f"`{name}` is called here", place) for name, place in self.callers[:-4:-1]))
        if fault.code != "limit":
            fault.notes = (*fault.notes, *(Note(f"in pass {n + 1} of this loop", place) for n, place in self.passes[:-3:-1] if n))
        self.collector.add(fault.at(span))
