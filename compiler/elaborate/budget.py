"""Work at compile time is bounded, so that a hostile file can neither hang nor exhaust the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from lamina.compiler.elaborate.values import Poisoned
from lamina.schema.diagnostics import Fault, Span

MAX_STEPS = 50_000
MAX_WORK = 2_000_000
OP = 15  # evaluations that one op is as much work as
MAX_FAULTS = 200


@final
@dataclass(slots=True)
class Budget:
    """What one elaboration has spent."""

    steps: int = 0
    evaluations: int = 0
    faults: int = 0

    def step(self, span: Span) -> None:
        """Count a step. Raises Fault."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Fault("limit", f"the spec unrolls to more than {MAX_STEPS:,} steps", span, "lower the repeat counts")

    def work(self, amount: int) -> None:
        """Count evaluations. Raises Fault once, then Poisoned: it has been said."""
        if self.evaluations > MAX_WORK:
            raise Poisoned
        self.evaluations += amount
        if self.evaluations > MAX_WORK:
            raise Fault("limit", f"the spec needs more than {MAX_WORK:,} evaluations at compile time", hint="use fewer unrolled iterations")

    @property
    def exhausted(self) -> bool:
        """Whether it is time to stop: a fault in a long loop may be slow to find, and is there at each pass."""
        return self.steps > MAX_STEPS or self.evaluations > MAX_WORK or self.faults > MAX_FAULTS
