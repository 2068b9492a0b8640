"""One text that is being written, whatever is written beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError
from lamina.runtime.generation.choose import choose, draws, seed_of
from lamina.runtime.generation.generate import ends_of
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.prompts import History, Prompts, check
from lamina.runtime.generation.search import Ends, Pick
from lamina.runtime.generation.texts import Piece, Text
from lamina.runtime.generation.vocabulary import Vocabulary
from lamina.runtime.generation.writer import Stops, Writer


@final
class Writing:
    """A sample of a prompt: `number` and `sample` are theirs in the request. `prompt` is its tokens."""

    def __init__(self, prompt: Sequence[int], number: int, sample: int, options: Generation, ends: Ends, seed: int, stops: Stops) -> None:
        self.prompt, self._number, self._sample = prompt, number, sample
        self._options, self._ends, self._random = options, ends, draws(seed, sample)
        self._history = History(Prompts.of([prompt], len(prompt)))
        self._stops, self._began = stops, time.perf_counter()
        self._text: Text | None = None
        self._ids: list[int] = []

    @property
    def last(self) -> int:
        """The newest token."""
        return self._ids[-1]

    @property
    def most(self) -> int:
        """How many tokens the decoder reads of it at most."""
        return len(self.prompt) + self._ends.most - 1

    def choose(self, logits: Array) -> Piece:
        """Go on by the logits after all its tokens, float32[1, vocabulary]. InputError, BundleError as `choose.choose`."""
        (token,), (logprob,) = choose(logits, self._options, self._ends.eos, len(self._ids), self._history, [0], [self._random])
        self._history.append(np.array([token]))
        self._ids.append(int(token))
        if self._text is None:
            self._text = Text(len(self.prompt), self._began, Writer(self._stops))
        return self._text.piece(Pick(self._number, self._sample, (int(token),), float(logprob), self._ends.of(self._ids)))


def writings(
    prompts: Sequence[Sequence[int]], options: Generation, eos: Sequence[int], vocabulary: Vocabulary, room: int, below: int | None
) -> list[Writing]:
    """The texts that these options ask for, each as it would be alone.

    `room` is how many tokens the decoder can hold of one, `below` how many it knows. InputError for options and prompts that will not do,
    but for what only shows while a text is written.
    """
    check(prompts, room)
    if below is not None and (strange := max(map(max, prompts))) >= below:
        raise InputError(f"a prompt holds the token {strange}, and the model's are 0 to {below - 1}")
    stops, seed = Stops(vocabulary, options.stop), seed_of(options)
    ends = {size: ends_of(options, eos, stops, room - size + 1) for size in set(map(len, prompts))}
    return [
        Writing(prompt, number, sample, options, ends[len(prompt)], seed, stops)
        for number, prompt in enumerate(prompts)
        for sample in range(options.num_return)
    ]
