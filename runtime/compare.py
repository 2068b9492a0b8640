"""What has become faster or slower between two runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, final

Key = TypeVar("Key", bound=Hashable)


@final
@dataclass(frozen=True, slots=True)
class Change(Generic[Key]):
    """A figure that is better the larger it is, before and after."""

    key: Key
    before: float
    after: float

    @property
    def percent(self) -> float:
        """By how much it rose; below 0 it fell."""
        return 100 * (self.after / self.before - 1)


def changes(before: Mapping[Key, float], after: Mapping[Key, float], margin: float) -> list[Change[Key]]:
    """The figures that both have which rose or fell by more than so many percent, in the order of those before."""
    found = [Change(key, value, after[key]) for key, value in before.items() if key in after]
    return [change for change in found if abs(change.percent) > margin]
