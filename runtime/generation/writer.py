"""Text as its tokens come: whole characters only, and nothing that may turn out to be the beginning of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from lamina.runtime.generation.vocabulary import Vocabulary

_BROKEN = "\ufffd"
_LONGEST_CHARACTER = 4


@final
class Stops:
    """Strings that end a text, wherever tokens begin and end."""

    def __init__(self, vocabulary: Vocabulary, strings: Sequence[str]) -> None:
        self.vocabulary, self._strings = vocabulary, strings
        # A token that says anything says a byte at least.
        self._reach = max((len(text.encode()) for text in strings), default=0) + _LONGEST_CHARACTER

    def __call__(self, ids: Sequence[int]) -> bool:
        """Whether one stands at the end of what these tokens say, given that none stood there a token earlier."""
        said: list[int] = []
        for token in reversed(ids):
            if self.vocabulary.is_silent(token):
                continue
            if len(said) >= self._reach and not self.vocabulary.is_byte(said[-1]):
                break
            said.append(token)
        text = self.vocabulary.text(said[::-1])
        return any(stop in text for stop in self._strings)

    def cut(self, text: str) -> str:
        """What stands before the first."""
        return text[: min((at for stop in self._strings if (at := text.find(stop)) >= 0), default=len(text))]

    def sure(self, text: str) -> int:
        """How many characters stand before anything that is one, or that is the beginning of one and stands at the end."""
        text = self.cut(text)
        longest = min(len(text), max(map(len, self._strings), default=0))
        return next((len(text) - size for size in range(longest, 0, -1) if self._begins(text[-size:])), len(text))

    def _begins(self, tail: str) -> bool:
        return any(stop.startswith(tail) for stop in self._strings)


@final
class Writer:
    """One text. What `push` and then `end` give, joined, is what all the tokens say together, up to a stop string."""

    def __init__(self, stops: Stops) -> None:
        self._vocabulary, self._stops = stops.vocabulary, stops
        self._ids: list[int] = []
        # The newest tokens are read behind those just before them, on which spaces and halves of characters depend.
        self._window: list[int] = []
        self._known = 0  # tokens of the window whose text is known
        self._said = 0  # characters that they say
        self._held = ""
        self._given = 0

    def push(self, ids: Sequence[int]) -> str:
        """What is now sure, beyond what was given before."""
        self._ids += ids
        said = [token for token in ids if not self._vocabulary.is_silent(token)]
        self._window += said
        if not said or self._vocabulary.is_byte(self._window[-1]):
            return ""
        text = self._vocabulary.text(self._window)
        if text.endswith(_BROKEN) or len(text) <= self._said:
            return ""
        self._held += text[self._said :]
        self._window = self._window[self._known :]
        self._known, self._said = len(self._window), len(self._vocabulary.text(self._window))
        return self._give(self._stops.sure(self._held))

    def end(self, stopped: bool) -> tuple[str, str]:
        """What was not given yet, and all the text; up to a stop string where one has ended it."""
        text = self._vocabulary.text(self._ids)
        if stopped:
            text = self._stops.cut(text)
        return text[self._given :], text

    def _give(self, count: int) -> str:
        given, self._held = self._held[:count], self._held[count:]
        self._given += count
        return given
