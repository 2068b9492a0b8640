"""How to generate: one frozen value, whose mistakes are told all at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, final

from lamina.runtime.errors import InputError
from lamina.schema.diagnostics import did_you_mean

_MOST_TOKENS = 2**20
_MOST_ROWS = 1024
_LONGEST_STOP = 1000
_LEAST_TEMPERATURE = 1e-6
_SAMPLING = ("top_k", "top_p", "min_p", "typical_p")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The options of `generate`; what they do, and in which order, is transformers'. InputError names every one that will not do.

    Lengths: `max_new_tokens`, and `min_new_tokens` before which no `eos` may come. `eos` are the tokens that end a text (None: the
    bundle's own); `stop` are strings that do, and are cut off.
    Greedy unless `temperature` is above 0; then tokens are drawn, among those that `top_k`, `top_p`, `min_p` and `typical_p` leave.
    The draws of sample i of a prompt follow from `seed` and i alone (None: another seed each time).
    `beams` above 1 is beam search, with `length_penalty` and `early_stopping`; in `beam_groups` groups, it is diverse beam search:
    a token costs a group `diversity` for each time that groups before it chose it at this step.
    `num_return` is the number of texts for each prompt: samples, or the best of the beams.
    `repetition_penalty`, `no_repeat_ngram_size` (both of prompt and text) and `suppress_tokens` go with all of them.
    `start` are the tokens that a decoder with an encoder reads first (None: the bundle's own); to the two rules of prompt and text they
    are the prompt.
    """

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppress_tokens: tuple[int, ...] = ()
    beams: int = 1
    beam_groups: int = 1
    diversity: float = 0.0
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    num_return: int = 1
    seed: int | None = None
    eos: tuple[int, ...] | None = None
    stop: tuple[str, ...] = ()
    start: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _raise([*_single(self)] or [*_joint(self)])

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The options by name. Lists stand for tuples, one eos or stop for itself. InputError as the class, and for unknown names."""
        known = {field.name for field in fields(cls)}
        unknown = [_unknown(name, known) for name in options if name not in known]
        given = {name: _as_tuple(name, value) for name, value in options.items() if name in known}
        try:
            made = cls(**given)
        except InputError as error:
            raise InputError("\n".join([*unknown, str(error)])) from None
        _raise(unknown)
        return made

    @property
    def sampled(self) -> bool:
        """Whether tokens are drawn."""
        return self.temperature > 0


def _raise(problems: list[str]) -> None:
    if problems:
        raise InputError("\n".join(problems))


def _unknown(name: str, known: set[str]) -> str:
    hint = did_you_mean(name, known)
    return f"`{name}` is not an option of generation" + (f"; {hint}" if hint else f"; they are {', '.join(sorted(known))}")


def _as_tuple(name: str, value: Any) -> Any:
    if name in ("eos", "stop", "suppress_tokens", "start"):
        return (value,) if isinstance(value, str | int) else tuple(value) if isinstance(value, list) else value
    return value


def _single(options: Generation) -> Iterator[str]:
    """What is wrong with each option by itself."""
    whole = {"max_new_tokens": (1, _MOST_TOKENS), "min_new_tokens": (0, _MOST_TOKENS), "no_repeat_ngram_size": (0, _MOST_TOKENS)}
    whole |= dict.fromkeys(("beams", "beam_groups", "num_return"), (1, _MOST_ROWS))
    whole |= {"top_k": (1, 2**31), "seed": (0, 2**64 - 1)}
    for name, (low, high) in whole.items():
        value = getattr(options, name)
        if not (_is_whole(value) and low <= value <= high) and not (value is None and name in ("top_k", "seed")):
            yield f"`{name}` is {value!r}, and must be a whole number from {low} to {high}"
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name)
        if not (_is_number(value) and least <= value <= most) and not (value is None and name in _SAMPLING):
            yield f"`{name}` is {value!r}, and must be a number from {least:g} to {most:g}"
    yield from _others(options)


# The smallest positive stand where zero would keep nothing, or divide by it.
_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 1e6),
    "top_p": (1e-6, 1),
    "min_p": (0, 1),
    "typical_p": (1e-6, 1),
    "repetition_penalty": (1e-6, 1e6),
    "diversity": (0, 1e6),
    "length_penalty": (-10, 10),
}


def _others(options: Generation) -> Iterator[str]:
    if _is_number(options.temperature) and 0 < options.temperature < _LEAST_TEMPERATURE:
        yield f"`temperature` is {options.temperature!r}, and must be 0, for the most likely token, or at least {_LEAST_TEMPERATURE:g}"
    if not isinstance(options.early_stopping, bool) and options.early_stopping != "never":
        yield f"`early_stopping` is {options.early_stopping!r}, and must be True, False or 'never'"
    for name in ("eos", "suppress_tokens", "start"):
        value = getattr(options, name)
        if value is not None and not (isinstance(value, tuple) and all(_is_whole(token) and 0 <= token < 2**31 for token in value)):
            yield f"`{name}` is {value!r}, and must be token ids"
    if options.start == ():
        yield "`start` is (), and a text must start from a token"
    if not (isinstance(options.stop, tuple) and all(isinstance(text, str) and 0 < len(text) <= _LONGEST_STOP for text in options.stop)):
        yield f"`stop` is {options.stop!r}, and must be strings of 1 to {_LONGEST_STOP} characters"


def _joint(options: Generation) -> Iterator[str]:
    """What is wrong with options beside each other."""
    if options.min_new_tokens > options.max_new_tokens:
        yield f"`min_new_tokens` is {options.min_new_tokens}, more than `max_new_tokens`, which is {options.max_new_tokens}"
    if not options.sampled:
        for name in _SAMPLING:
            if getattr(options, name) is not None:
                yield f"`{name}` is {getattr(options, name)!r}, and without a `temperature` above 0 nothing is drawn"
    if options.sampled and options.beams > 1:
        yield f"`temperature` is {options.temperature!r}, and {options.beams} `beams` draw nothing; choose one of them"
    if options.beams % options.beam_groups:
        yield f"`beams` is {options.beams}, which {options.beam_groups} `beam_groups` do not share evenly"
    if options.diversity > 0 and options.beam_groups == 1:
        yield f"`diversity` is {options.diversity!r}, and there is one group of beams; set `beam_groups`"
    if options.num_return > 1 and not options.sampled and options.num_return > options.beams:
        yield f"`num_return` is {options.num_return}, which needs as many `beams`, or a `temperature` above 0"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
