"""How to sample: one frozen value, whose mistakes are told all at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, final, get_args

from lamina.runtime.errors import InputError
from lamina.schema.diagnostics import did_you_mean

Method = Literal["ddpm", "ddim", "flow"]
Schedule = Literal["linear", "cosine"]
Prediction = Literal["noise", "sample", "v"]
Variance = Literal["small", "large"]
_MOST_STEPS = 100_000
_CHOICES: Mapping[str, tuple[str, ...]] = {
    name: get_args(kind) for name, kind in (("method", Method), ("schedule", Schedule), ("predicts", Prediction), ("variance", Variance))
}
_WHOLE = {"steps": (1, _MOST_STEPS), "train_steps": (1, _MOST_STEPS), "seed": (0, 2**64 - 1), "guided_channels": (1, 2**31)}
_NUMBERS = {"guidance": (-1e3, 1e3), "eta": (0, 1), "clip": (1e-6, 1e6)}
_NONE_TOO = ("seed", "guided_channels", "clip")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The options of `sample`. InputError names every one that will not do.

    `method`: `ddpm` (arXiv 2006.11239), `ddim` (2010.02502) or the Euler steps of a rectified `flow` (2209.03003). `steps` of them are
    taken, of a diffusion among the `train_steps` of its `schedule` (`cosine`: 2102.09672), evenly from the first to the last.
    `guidance` w: without + w * (with - without) the condition (2207.12598), of the first `guided_channels` alone where that is given.
    Of a diffusion: what the model `predicts` (`v`: 2202.00512); `clip` bounds the sample that it has in view, `eta` is ddim's noise.
    A model that gives twice the channels gives ddpm's variance with them (2102.09672); else it is the `small` or the `large` one.
    What is drawn for sample i follows from `seed` and i alone (None: another seed each time).
    """

    method: Method = "ddim"
    steps: int = 50
    guidance: float = 1.0
    guided_channels: int | None = None
    schedule: Schedule = "linear"
    train_steps: int = 1000
    predicts: Prediction = "noise"
    variance: Variance = "small"
    clip: float | None = None
    eta: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        _raise([*_problems(self)])

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The options by name. InputError as the class, and for unknown names."""
        known = {field.name for field in fields(cls)}
        unknown = [_unknown(name, known) for name in options if name not in known]
        try:
            made = cls(**{name: value for name, value in options.items() if name in known})
        except InputError as error:
            raise InputError("\n".join([*unknown, str(error)])) from None
        _raise(unknown)
        return made


def _raise(problems: list[str]) -> None:
    if problems:
        raise InputError("\n".join(problems))


def _unknown(name: str, known: set[str]) -> str:
    return f"`{name}` is not an option of sampling; " + (did_you_mean(name, known) or f"they are {', '.join(sorted(known))}")


def _problems(options: Sampling) -> Iterator[str]:
    for name, choices in _CHOICES.items():
        if getattr(options, name) not in choices:
            yield f"`{name}` is {getattr(options, name)!r}, and must be one of {', '.join(choices)}"
    for kinds, ranges, what in ((int, _WHOLE, "a whole number"), ((int, float), _NUMBERS, "a number")):
        for name, (least, most) in ranges.items():
            value = getattr(options, name)
            fits = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and least <= value <= most
            if not fits and not (value is None and name in _NONE_TOO):
                yield f"`{name}` is {value!r}, and must be {what} from {least:g} to {most:g}"
    if options.method != "flow" and _is_more(options.steps, options.train_steps):
        yield f"`steps` is {options.steps}, and a diffusion of {options.train_steps} has no more to take"


def _is_more(steps: Any, most: Any) -> bool:
    return isinstance(steps, int) and isinstance(most, int) and steps > most
