"""Whether texts that are written together change each other, found by trying: a manifest cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
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

Scores = dict[tuple[int, int], Array]  # of a text, after so many tokens behind its prompt
_LENGTHS, _STEPS = (5, 9, 3), 3
# Of the largest score. Bundles that round inputs to 8 bits make much of float32's last places, which depend on sizes: how much of them
# shows where a text that is alone is read in other parts.
_SAME, _NOISE, _TOLD, _MOST = 1e-4, 3.0, 1e-3, 5e-2


@final
@dataclass(frozen=True, slots=True)
class TextJoining:
    """How many texts are written at a time, and whether prompts of several lengths are read in one call.

    `error` is how far their scores were from those alone in the trial, of the largest; `why` they are written alone, if they are.
    """

    most: int
    together: bool
    error: float = 0.0
    why: str | None = None

    def __str__(self) -> str:
        if self.why is not None:
            return f"one at a time: {self.why}"
        rounded = f", rounded: scores differ by {self.error:.1%} from those alone" if self.error > _TOLD else ""
        return f"up to {self.most}" + ("" if self.together else ", prompts one by one") + rounded


def probed_texts(session: Session, most: int) -> TextJoining:
    """As many at a time as the manifest, `most` and a trial with random tokens bear out."""
    why = "nothing is to be joined" if most == 1 else unjoinable(session.manifest)
    if why is not None:
        return TextJoining(1, False, why=why)
    ids, mask = token_inputs(session.manifest, fed(session.manifest))
    assert ids is not None, "it is a decoder of tokens"
    most = min(most, session.manifest.dims[str(ids.shape[0])].max)
    for together in (True, False) if mask is not None else (False,):
        if (error := _error(session, together)) is not None:
            return TextJoining(most, together, error)
    return TextJoining(1, False, why="a trial showed that texts change each other")


def _error(session: Session, together: bool) -> float | None:
    """Two texts join one that has begun, and then the longest leaves: how far their scores are from those alone.

    None where that is more than other sizes of a call explain, or where the first has other scores beside other texts.
    """
    texts, others = _texts(session, 0), _texts(session, 1)
    try:
        alone = _alone(session, texts, 0)
        noise = _farthest(_alone(session, texts, 2), alone)
        joined = _joined(session, texts, together)
        changed = _joined(session, [texts[0], *others[1:]], together)
    except (InputError, BundleError):  # there is no room for such texts, or random tokens are not what it takes
        return None
    error = _farthest(joined, alone)
    beside = _farthest({place: scores for place, scores in changed.items() if place[0] == 0}, joined)
    return error if error <= min(_MOST, max(_SAME, _NOISE * noise)) and beside <= _SAME else None


def _texts(session: Session, seed: int) -> list[list[int]]:
    """Random tokens: of each text its prompt, and one for each step."""
    random, most = np.random.default_rng(seed), steps_of(session).tokens
    return [random.integers(0, most, length + _STEPS).tolist() for length in _LENGTHS]


def _alone(session: Session, texts: Sequence[Sequence[int]], late: int) -> Scores:
    """The scores of each text after its prompt, and after each token behind it. The last `late` of the prompt are read one by one."""
    found: Scores = {}
    for number, (text, length) in enumerate(zip(texts, _LENGTHS, strict=True)):
        steps, logits = _read(session, [text[: length - late]])
        for token in text[length - late : length]:
            logits = steps.step(np.array([token]))
        found[number, 0] = logits[0]
        for made, token in enumerate(text[length:], 1):
            found[number, made] = steps.step(np.array([token]))[0]
    return found


def _joined(session: Session, texts: Sequence[Sequence[int]], together: bool) -> Scores:
    """Some of the same, as they are where the texts are written together."""
    first, second, third = ([*text[:length]] for text, length in zip(texts, _LENGTHS, strict=True))
    steps, logits = _read(session, [first])
    found: Scores = {(0, 0): logits[0], (0, 1): steps.step(_behind(texts, (0, 0)))[0]}
    for group in [{1: second, 2: third}] if together else [{1: second}, {2: third}]:
        new, logits = _read(session, list(group.values()))
        found |= {(number, 0): scores for number, scores in zip(group, logits, strict=True)}
        steps = gathered(session, [*((steps, row) for row in range(steps.rows)), *((new, row) for row in range(len(group)))])
    found |= dict(zip(((0, 2), (1, 1), (2, 1)), steps.step(_behind(texts, (0, 1), (1, 0), (2, 0))), strict=True))
    steps = gathered(session, [(steps, 2), (steps, 0)])
    return found | dict(zip(((2, 2), (0, 3)), steps.step(_behind(texts, (2, 1), (0, 2))), strict=True))


def _behind(texts: Sequence[Sequence[int]], *places: tuple[int, int]) -> Array:
    """Of texts, tokens by their places behind the prompt."""
    return np.array([texts[text][_LENGTHS[text] + place] for text, place in places])


def _read(session: Session, prompts: Sequence[Sequence[int]]) -> tuple[StreamSteps, Array]:
    steps = steps_of(session)
    batch = Prompts.of(prompts, steps.room)
    return steps, steps.start(batch.ids, batch.mask)


def _farthest(found: Scores, expected: Scores) -> float:
    """The largest difference at the places of the first, of the largest score. Infinite where only one of two scores is finite."""
    return max(_difference(scores, expected[place]) for place, scores in found.items())


def _difference(one: Array, other: Array) -> float:
    if not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    most = float(np.abs(other[np.isfinite(other)]).max(initial=0))
    return float(np.abs(one - other)[np.isfinite(other)].max(initial=0)) / (most or 1.0)
