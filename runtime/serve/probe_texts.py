"""Whether texts that are written together change each other, found by trying: a manifest cannot tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.generation.joinable import unjoinable
from lamina.runtime.generation.prompts import Prompts
from lamina.runtime.generation.session_steps import StreamSteps, gathered, steps_of
from lamina.runtime.generation.token_inputs import fed, token_inputs
from lamina.runtime.session import Session

_LENGTHS, _STEPS = (5, 9, 3), 3
_ERROR = 1e-3  # of the largest score: far above what float32 rounds, and below what a neighbour, or rounding by its range, changes


@final
@dataclass(frozen=True, slots=True)
class TextJoining:
    """How many texts are written at a time, and whether prompts of several lengths are read in one call. `why` one alone, if it is one."""

    most: int
    together: bool
    why: str | None = None

    def __str__(self) -> str:
        return f"one at a time: {self.why}" if self.most == 1 else f"up to {self.most}" + ("" if self.together else ", prompts one by one")


def probed_texts(session: Session, most: int) -> TextJoining:
    """As many at a time as the manifest, `most` and a trial with random tokens bear out."""
    if most == 1:
        return TextJoining(1, False, "nothing is to be joined")
    if (why := unjoinable(session.manifest)) is not None:
        return TextJoining(1, False, why)
    ids, mask = token_inputs(session.manifest, fed(session.manifest))
    assert ids is not None, "it is a decoder of tokens"
    most = min(most, session.manifest.dims[str(ids.shape[0])].max)
    for together in (True, False) if mask is not None else (False,):
        if _holds(session, together):
            return TextJoining(most, together)
    return TextJoining(1, False, "a trial showed that texts change each other")


def _holds(session: Session, together: bool) -> bool:
    """Two texts join one that has begun, and then the longest leaves: each must have the scores that it has alone."""
    texts = _texts(session)
    try:
        alone = [_alone(session, text, length) for text, length in zip(texts, _LENGTHS, strict=True)]
        return all(_close(scores, alone[text][made]) for text, made, scores in _joined(session, texts, together))
    except (InputError, BundleError):  # there is no room for such texts, or random tokens are not what it takes
        return False


def _texts(session: Session) -> list[list[int]]:
    """Random tokens: of each text its prompt, and one for each step."""
    random, most = np.random.default_rng(0), steps_of(session).tokens
    return [random.integers(0, most, length + _STEPS).tolist() for length in _LENGTHS]


def _alone(session: Session, text: Sequence[int], length: int) -> list[Array]:
    """The scores after the prompt, and after each token behind it."""
    steps, logits = _read(session, [text[:length]])
    return [logits[0], *(steps.step(np.array([token]))[0] for token in text[length:])]


def _joined(session: Session, texts: Sequence[Sequence[int]], together: bool) -> Iterator[tuple[int, int, Array]]:
    """Of a text, and after so many tokens behind its prompt, the scores."""
    first, second, third = ([*text[:length]] for text, length in zip(texts, _LENGTHS, strict=True))
    steps, logits = _read(session, [first])
    yield 0, 0, logits[0]
    yield 0, 1, steps.step(_behind(texts, (0, 0)))[0]
    for group in [[second, third]] if together else [[second], [third]]:
        new, logits = _read(session, group)
        for row, prompt in enumerate(group):
            yield 1 if prompt is second else 2, 0, logits[row]
        steps = gathered(session, [*((steps, row) for row in range(steps.rows)), *((new, row) for row in range(len(group)))])
    yield from zip((0, 1, 2), (2, 1, 1), steps.step(_behind(texts, (0, 1), (1, 0), (2, 0))), strict=True)
    steps = gathered(session, [(steps, 2), (steps, 0)])
    yield from zip((2, 0), (2, 3), steps.step(_behind(texts, (2, 1), (0, 2))), strict=True)


def _behind(texts: Sequence[Sequence[int]], *places: tuple[int, int]) -> Array:
    """Of texts, tokens by their places behind the prompt."""
    return np.array([texts[text][_LENGTHS[text] + place] for text, place in places])


def _read(session: Session, prompts: Sequence[Sequence[int]]) -> tuple[StreamSteps, Array]:
    steps = steps_of(session)
    batch = Prompts.of(prompts, steps.room)
    return steps, steps.start(batch.ids, batch.mask)


def _close(one: Array, other: Array) -> bool:
    most = float(np.abs(other[np.isfinite(other)]).max(initial=0))
    return np.allclose(one, other, rtol=0, atol=_ERROR * most, equal_nan=True)
