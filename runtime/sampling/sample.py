"""From noise to samples: `sample` gives them, `sample_stream` after every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError
from lamina.runtime.sampling import rules
from lamina.runtime.sampling.denoiser import Denoiser
from lamina.runtime.sampling.options import Sampling
from lamina.runtime.session import Session

Bundle = Session | Path | str
Inputs = Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Step:
    """The samples, float32, after `number` of `of` steps."""

    number: int
    of: int
    samples: Array


def sample(
    bundle: Bundle,
    inputs: Inputs | None = None,
    without: Inputs | None = None,
    noise: Array | None = None,
    dims: Mapping[str, int] | None = None,
    **options: Any,
) -> Array:
    """Samples of a denoiser, float32. Options are those of `Sampling`.

    `inputs` are what the model is given beside the noisy sample and the time, such as labels; `without` what it is given instead where
    `guidance` asks for its prediction without a condition. The start is `noise`, or drawn at the sizes that the inputs or `dims` show.
    InputError: options or inputs that will not do. BundleError: a model that is no denoiser, or gives values that are not finite.
    """
    *_, last = sample_stream(bundle, inputs, without, noise, dims, **options)
    return last.samples


def sample_stream(
    bundle: Bundle,
    inputs: Inputs | None = None,
    without: Inputs | None = None,
    noise: Array | None = None,
    dims: Mapping[str, int] | None = None,
    **options: Any,
) -> Iterator[Step]:
    """As `sample`, the samples after every step."""
    chosen = Sampling.of(options)
    with ExitStack() as opened:
        session = bundle if isinstance(bundle, Session) else opened.enter_context(Session(bundle))
        denoiser = Denoiser(session, inputs or {}, without or {}, dims or {}, chosen)
        draws = _Draws(denoiser.shape, chosen.seed)
        x = draws.next() if noise is None else _start(noise, denoiser)
        walk = _flow if chosen.method == "flow" else _diffusion
        for number, samples in enumerate(walk(denoiser, x, chosen, draws), 1):
            yield Step(number, chosen.steps, samples)


def _flow(denoiser: Denoiser, x: Array, options: Sampling, draws: _Draws) -> Iterator[Array]:
    for left in range(options.steps, 0, -1):
        x = rules.flow(x, denoiser(x, left / options.steps)[0], options.steps)
        yield x


def _diffusion(denoiser: Denoiser, x: Array, options: Sampling, draws: _Draws) -> Iterator[Array]:
    times = rules.spaced(options.train_steps, options.steps)
    kept = [1.0, *rules.kept(options.schedule, options.train_steps)[times].tolist()]
    for i in range(options.steps, 0, -1):
        place = rules.Place(kept[i], kept[i - 1])
        given, share = denoiser(x, times[i - 1])
        clean, noise = place.views(x, given, options.predicts, options.clip)
        if options.method == "ddpm":
            x = rules.ddpm(place, x, clean, options.variance if share is None else share, draws.next)
        else:
            x = rules.ddim(place, clean, noise, options.eta, draws.next)
        yield x


def _start(noise: Array, denoiser: Denoiser) -> Array:
    array = np.asarray(noise, np.float32)
    if array.shape != denoiser.shape:
        raise InputError(f"the noise has shape {list(array.shape)}, wanted {list(denoiser.shape)}")
    return array


@final
class _Draws:
    """Normal numbers, from a stream for each sample, so that a sample is the same whatever else is drawn beside it."""

    def __init__(self, shape: tuple[int, ...], seed: int | None) -> None:
        first = np.random.SeedSequence().entropy if seed is None else seed
        assert isinstance(first, int)
        self._shape, self._streams = shape[1:], [np.random.default_rng([first, i]) for i in range(shape[0])]

    def next(self) -> Array:
        return np.stack([stream.standard_normal(self._shape, np.float32) for stream in self._streams])
