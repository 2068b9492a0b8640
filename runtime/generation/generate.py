"""From prompts to texts: `generate` gives them whole, `generate_stream` as their tokens come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lamina.runtime.errors import InputError
from lamina.runtime.generation.beams import beam_search
from lamina.runtime.generation.encoded_steps import EncodedSteps
from lamina.runtime.generation.one_by_one import one_by_one
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.search import Ends, Finish
from lamina.runtime.generation.session_steps import steps_of
from lamina.runtime.generation.steps import Steps
from lamina.runtime.generation.texts import Generated, Piece, Text
from lamina.runtime.generation.vocabulary import Vocabulary
from lamina.runtime.generation.writer import Stops, Writer
from lamina.runtime.session import Session

Bundle = Session | Path | str
GivenPrompts = str | Sequence[str] | Sequence[Sequence[int]]


def generate(bundle: Bundle, prompts: GivenPrompts, encoder: Bundle | None = None, **options: Any) -> list[Generated]:
    """The texts that prompts go on with, in the order of the prompts. Prompts are texts, or tokens; options are those of `Generation`.

    With an encoder, prompts are what that reads, and the texts are what the decoder makes of it, from its `start` on.
    InputError: options or prompts that will not do, or bundles that do not fit together. BundleError: a bundle that cannot generate, or
    whose logits are not finite.
    """
    return whole(generate_stream(bundle, prompts, encoder, **options))


def generate_stream(bundle: Bundle, prompts: GivenPrompts, encoder: Bundle | None = None, **options: Any) -> Iterator[Piece]:
    """As `generate`, each token when it comes. Beam search has nothing to show of a prompt before its search has ended."""
    return _opened(bundle, encoder, prompts, Generation.of(options))


def whole(pieces: Iterator[Piece]) -> list[Generated]:
    """The texts of a stream, in order."""
    return sorted((piece.whole for piece in pieces if piece.whole is not None), key=lambda found: (found.prompt, found.sample))


def stream(steps: Steps, vocabulary: Vocabulary | None, prompts: GivenPrompts, options: Generation, eos: Sequence[int]) -> Iterator[Piece]:
    """What the others do, on any decoder. `eos` are the tokens that end a text unless the options name others."""
    began = time.perf_counter()
    tokens = tokens_of(prompts, vocabulary)
    batch = steps.prompts(tokens)
    stops = None if vocabulary is None else Stops(vocabulary, options.stop)
    ends = ends_of(options, eos, stops, steps.room - batch.ids.shape[1] + 1)
    texts: dict[tuple[int, int], Text] = {}
    search = beam_search if options.beams > 1 else one_by_one
    for picks in search(steps, batch, options, ends):
        for pick in picks:
            key = (pick.prompt, pick.sample)
            if key not in texts:
                texts[key] = Text(len(tokens[pick.prompt]), began, Writer(stops) if stops else None)
            yield texts[key].piece(pick)


def _opened(bundle: Bundle, encoder: Bundle | None, prompts: GivenPrompts, options: Generation) -> Iterator[Piece]:
    with ExitStack() as opened:
        source = None if encoder is None else _open(encoder, opened)
        yield from _of_sessions(_open(bundle, opened), source, prompts, options)


def _open(bundle: Bundle, opened: ExitStack) -> Session:
    return bundle if isinstance(bundle, Session) else opened.enter_context(Session(bundle))


def _of_sessions(session: Session, encoder: Session | None, prompts: GivenPrompts, options: Generation) -> Iterator[Piece]:
    """An encoder's tokenizer reads the prompts; it says what the tokens of texts are too, unless the decoder carries one of its own."""
    speaker = session if encoder is None or session.manifest.tokenizer is not None else encoder
    how = speaker.manifest.tokenizer
    if encoder is None:
        if options.start is not None:
            raise InputError(f"`start` is {options.start!r}, and without an encoder a text starts from its prompt; write it there")
        steps: Steps = steps_of(session)
    else:
        steps = EncodedSteps(session, encoder, options.start or (how.start if how else ()))
        prompts = tokens_of(prompts, Vocabulary.of(encoder.folder, encoder.manifest))
    yield from stream(steps, Vocabulary.of(speaker.folder, speaker.manifest), prompts, options, how.eos if how else ())


def tokens_of(prompts: GivenPrompts, vocabulary: Vocabulary | None) -> Sequence[Sequence[int]]:
    """The tokens of prompts. InputError for texts without a tokenizer, or among tokens."""
    given = [prompts] if isinstance(prompts, str) else list(prompts)
    if not all(isinstance(prompt, str) for prompt in given):
        if any(isinstance(prompt, str) for prompt in given):
            raise InputError("prompts are all texts, or all tokens")
        return given  # type: ignore[return-value]
    if vocabulary is None and given:
        raise InputError("the bundle carries no tokenizer; give prompts as token ids, or declare `tokenizer` in the spec")
    return [] if vocabulary is None else vocabulary.encode(given)  # type: ignore[arg-type]


def ends_of(options: Generation, eos: Sequence[int], stops: Stops | None, room: int) -> Ends:
    """What ends texts that have room for so many tokens. `eos` are the tokens that do unless the options name others.

    InputError for stop strings without a tokenizer.
    """
    tokens = set(eos if options.eos is None else options.eos)
    if options.stop:
        if stops is None:
            raise InputError("`stop` needs a tokenizer, and the bundle carries none; give `eos` tokens")
        # A special token says nothing that a string could be found in.
        tokens |= {token for text in options.stop if (token := stops.vocabulary.special(text)) is not None}
    full: Finish = "length" if options.max_new_tokens <= room else "room"
    return Ends(frozenset(tokens), stops if options.stop else None, min(options.max_new_tokens, room), full)
