"""What sizes are written with: named dims, and what else is known only as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from lamina.schema.dims.polynomial import Polynomial


class Atom(ABC):
    """A factor of a term."""

    __slots__ = ()

    @property
    @abstractmethod
    def symbols(self) -> frozenset[Symbol]:
        """The named dims that it depends on."""

    @property
    @abstractmethod
    def weight(self) -> int:
        """How many named dims and terms it is written with."""

    @abstractmethod
    def evaluate(self, env: Mapping[str, int]) -> int:
        """Its value when each named dim has the value in `env`."""

    @abstractmethod
    def bounds(self) -> tuple[int, int]:
        """A lower and an upper bound over the declared ranges."""

    def floor_of(self) -> tuple[Polynomial, int] | None:
        """n and d where it is floor(n / d) with d a number."""
        return None


@final
@dataclass(frozen=True, slots=True)
class Symbol(Atom):
    """A declared dynamic dim. Its value is `multiple_of * unit`, with min <= value <= max.

    `at_most` is a size that it does not exceed, either, where what other dims leave for it is declared: `max: 1024 - T`.
    """

    name: str
    min: int = 1
    opt: int = 1
    max: int = 2**31 - 1
    multiple_of: int = 1
    at_most: Polynomial | None = None

    @property
    def symbols(self) -> frozenset[Symbol]:
        return frozenset((self,))

    @property
    def weight(self) -> int:
        return 1

    def evaluate(self, env: Mapping[str, int]) -> int:
        """The unit's value: the divisor has been moved into the coefficients."""
        return env[self.name] // self.multiple_of

    def bounds(self) -> tuple[int, int]:
        return -(-self.min // self.multiple_of), self.max // self.multiple_of

    def samples(self) -> list[int]:
        """A few values of the unit that are likely to break a false claim."""
        low, high = self.bounds()
        picks = {low, low + 1, low + 2, low + 3, self.opt // self.multiple_of, (low + high) // 2, high - 1, high}
        return sorted(p for p in picks if low <= p <= high)

    def __str__(self) -> str:
        return self.name
