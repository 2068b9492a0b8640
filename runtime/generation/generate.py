"""From prompts to texts: `generate` gives them whole, `generate_stream` as their tokens come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from lamina.runtime.errors import InputError
from lamina.runtime.generation.beams import beam_search
from lamina.runtime.generation.one_by_one import one_by_one
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.prompts import Prompts
from lamina.runtime.generation.search import Ends, Finish, Pick
from lamina.runtime.generation.session_steps import steps_of
from lamina.runtime.generation.steps import Steps
from lamina.runtime.generation.vocabulary import Vocabulary
from lamina.runtime.generation.writer import Stops, Writer
from lamina.runtime.session import Session

GivenPrompts = str | Sequence[str] | Sequence[Sequence[int]]


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


def generate(bundle: Session | Path | str, prompts: GivenPrompts, **options: Any) -> list[Generated]:
    """The texts that prompts go on with, in the order of the prompts. Prompts are texts, or tokens; options are those of `Generation`.

    InputError: options or prompts that will not do. BundleError: a bundle that cannot generate, or whose logits are not finite.
    """
    return whole(generate_stream(bundle, prompts, **options))


def generate_stream(bundle: Session | Path | str, prompts: GivenPrompts, **options: Any) -> Iterator[Piece]:
    """As `generate`, each token when it comes. Beam search has nothing to show of a prompt before its search has ended."""
    chosen = Generation.of(options)
    if isinstance(bundle, Session):
        return _of_session(bundle, prompts, chosen)
    return _of_folder(bundle, prompts, chosen)


def whole(pieces: Iterator[Piece]) -> list[Generated]:
    """The texts of a stream, in order."""
    return sorted((piece.whole for piece in pieces if piece.whole is not None), key=lambda found: (found.prompt, found.sample))


def stream(steps: Steps, vocabulary: Vocabulary | None, prompts: GivenPrompts, options: Generation, eos: Sequence[int]) -> Iterator[Piece]:
    """What the others do, on any decoder. `eos` are the tokens that end a text unless the options name others."""
    began = time.perf_counter()
    tokens = _tokens(prompts, vocabulary)
    batch = Prompts.of(tokens, steps.room)
    stops = None if vocabulary is None else Stops(vocabulary, options.stop)
    ends = _ends(options, eos, stops, steps.room - batch.ids.shape[1] + 1)
    texts: dict[tuple[int, int], _Text] = {}
    search = beam_search if options.beams > 1 else one_by_one
    for picks in search(steps, batch, options, ends):
        for pick in picks:
            key = (pick.prompt, pick.sample)
            if key not in texts:
                texts[key] = _Text(len(tokens[pick.prompt]), began, Writer(stops) if stops else None)
            yield texts[key].piece(pick)


@final
class _Text:
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


def _of_folder(bundle: Path | str, prompts: GivenPrompts, options: Generation) -> Iterator[Piece]:
    with Session(bundle) as session:
        yield from _of_session(session, prompts, options)


def _of_session(session: Session, prompts: GivenPrompts, options: Generation) -> Iterator[Piece]:
    tokenizer = session.manifest.tokenizer
    vocabulary = Vocabulary.of(session.folder, session.manifest)
    yield from stream(steps_of(session), vocabulary, prompts, options, tokenizer.eos if tokenizer else ())


def _tokens(prompts: GivenPrompts, vocabulary: Vocabulary | None) -> Sequence[Sequence[int]]:
    given = [prompts] if isinstance(prompts, str) else list(prompts)
    if not all(isinstance(prompt, str) for prompt in given):
        if any(isinstance(prompt, str) for prompt in given):
            raise InputError("prompts are all texts, or all tokens")
        return given  # type: ignore[return-value]
    if vocabulary is None and given:
        raise InputError("the bundle carries no tokenizer; give prompts as token ids, or declare `tokenizer` in the spec")
    return [] if vocabulary is None else vocabulary.encode(given)  # type: ignore[arg-type]


def _ends(options: Generation, eos: Sequence[int], stops: Stops | None, room: int) -> Ends:
    tokens = set(eos if options.eos is None else options.eos)
    if options.stop:
        if stops is None:
            raise InputError("`stop` needs a tokenizer, and the bundle carries none; give `eos` tokens")
        # A special token says nothing that a string could be found in.
        tokens |= {token for text in options.stop if (token := stops.vocabulary.special(text)) is not None}
    full: Finish = "length" if options.max_new_tokens <= room else "room"
    return Ends(frozenset(tokens), stops if options.stop else None, min(options.max_new_tokens, room), full)
