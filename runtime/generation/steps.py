"""What generation needs of a decoder: to read prompts, then one token after the other, and to let rows go on from what others read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lamina.runtime.dtypes import Array
from lamina.runtime.generation.prompts import Prompts


class Steps(ABC):
    """A decoder that remembers what it has read."""

    room: int
    """How many tokens a row can hold at most, padding included: the largest context."""

    def prompts(self, tokens: Sequence[Sequence[int]]) -> Prompts:
        """What `start` is then given for prompts of these tokens: themselves, unless the decoder reads something in their stead."""
        return Prompts.of(tokens, self.room)

    @abstractmethod
    def start(self, ids: Array, mask: Array) -> Array:
        """Forget everything and read prompts: int64[N, T], padded on the left, where the mask (int64[N, T]) is 0.

        Returns the logits after the last token: float32[N, vocabulary].
        """

    @abstractmethod
    def step(self, ids: Array) -> Array:
        """Read one more token of each row, int64[N]. Returns the logits after it: float32[N, vocabulary]."""

    @abstractmethod
    def reorder(self, rows: Sequence[int]) -> None:
        """Row i goes on from what row `rows[i]` has read. Rows may repeat, and be more or fewer than before."""
