"""Texts as they are given: step by step, and whole."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import final

from lamina.runtime.generation.search import Finish, Pick
from lamina.runtime.generation.writer import Writer


@final
@dataclass(frozen=True, slots=True)
class Generated:
    """A text that `prompt` (its number) goes on with; `sample` is its number among those of that prompt, of beams the best first.

    `ids` are its tokens, with the one that ended it. `text` is what they say, up to a stop string; empty without a tokenizer.
    `finish` is why it ended: an end token, a stop string, `max_new_tokens`, or the model's room.
    `logprob` is the sum of the tokens' log-probabilities to the model itself, before any option changes them.
    `first_seconds` and `seconds` are from the call to its first and to its last token.
    """

    prompt: int
    sample: int
    text: str
    ids: tuple[int, ...]
    finish: Finish
    logprob: float
    prompt_tokens: int
    first_seconds: float
    seconds: float


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """What one step adds to a text: tokens, and characters that are sure now. With the last comes the whole."""

    prompt: int
    sample: int
    ids: tuple[int, ...]
    text: str
    whole: Generated | None


@final
class Text:
    """One text while it comes."""

    def __init__(self, prompt_tokens: int, began: float, writer: Writer | None) -> None:
        self._prompt_tokens, self._began, self._writer = prompt_tokens, began, writer
        self._ids: list[int] = []
        self._logprob = 0.0
        self._first_seconds = time.perf_counter() - began

    def piece(self, pick: Pick) -> Piece:
        """What a pick adds. The token of an "eos" says nothing."""
        self._ids += pick.ids
        self._logprob += pick.logprob
        added = self._writer.push(pick.ids[:-1] if pick.finish == "eos" else pick.ids) if self._writer else ""
        if pick.finish is None:
            return Piece(pick.prompt, pick.sample, pick.ids, added, None)
        rest, text = self._writer.end(pick.finish == "stop") if self._writer else ("", "")
        return Piece(pick.prompt, pick.sample, pick.ids, added + rest, self._whole(pick, pick.finish, text))

    def _whole(self, pick: Pick, finish: Finish, text: str) -> Generated:
        seconds = time.perf_counter() - self._began
        return Generated(
            pick.prompt, pick.sample, text, tuple(self._ids), finish, self._logprob, self._prompt_tokens, self._first_seconds, seconds
        )
