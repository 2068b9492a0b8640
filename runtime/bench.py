"""How long a session takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lamina.runtime.errors import InputError
from lamina.runtime.generation.encoded_steps import EncodedSteps
from lamina.runtime.generation.session_steps import steps_of
from lamina.runtime.generation.steps import Steps
from lamina.runtime.samples import chosen_dims, sample_inputs
from lamina.runtime.session import Session


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Wall-clock milliseconds of a call. `throughput` is items a second: the first input's leading size over the median.

    `peak_mb` is the most memory that the process has held so far, in millions of bytes.
    """

    target: str
    dims: dict[str, int]
    batch: int
    repeats: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    throughput: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """Tokens a second of a decoder: of a prompt that is read at once, and of the tokens after it, one by one (the median step).

    `peak_mb` is as in `BenchResult`, after the last token.
    """

    target: str
    prompt: int
    tokens: int
    prefill: float
    decode: float
    peak_mb: float


def bench_decoding(session: Session, prompt: int = 128, tokens: int = 128, seed: int = 0, encoder: Session | None = None) -> DecodeResult:
    """Time a prompt of random tokens and greedy tokens after it, once the same was done for warm-up. InputError where they do not fit.

    With an encoder it is that which reads the prompt, and the decoder its first token. BundleError: the bundle is no decoder.
    """
    how = None if encoder is None else encoder.manifest.tokenizer
    start_of = how.start if how is not None and how.start else (0,)
    steps: Steps = steps_of(session) if encoder is None else EncodedSteps(session, encoder, start_of)
    most = steps.room - (0 if encoder is None else len(start_of))
    if prompt < 1 or tokens < 1 or tokens + (prompt if encoder is None else 0) > most:
        together = "together " if encoder is None else "of the latter "
        raise InputError(f"a prompt of {prompt} and {tokens} tokens: give at least 1 of each, and {together}at most {most}")
    ids = np.random.default_rng(seed).integers(0, _vocabulary(session), prompt).tolist()
    for _ in range(2):
        start = time.perf_counter()
        given = steps.prompts([ids])
        logits = steps.start(given.ids, given.mask)
        first, times = time.perf_counter() - start, []
        for _ in range(tokens):
            start = time.perf_counter()
            logits = steps.step(logits.argmax(1))
            times.append(time.perf_counter() - start)
    return DecodeResult(session.target, prompt, tokens, prompt / first, 1 / float(np.median(times)), peak_mb())


def _vocabulary(session: Session) -> int:
    size = session.outputs[0].shape[-1]
    return size if isinstance(size, int) else 1


def peak_mb() -> float:
    """The most memory that this process has held so far, in millions of bytes."""
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 1e6 if sys.platform == "darwin" else held * 1024 / 1e6


def bench(session: Session, dims: Mapping[str, int] | None = None, warmup: int = 5, repeats: int = 30, seed: int = 0) -> BenchResult:
    """Time `repeats` calls after `warmup` on random inputs at these dims (others at their optimum). InputError for dims out of range."""
    if repeats < 1 or warmup < 0:
        raise InputError(f"{repeats} repeats after {warmup} calls of warm-up: give at least 1 and 0")
    inputs = sample_inputs(session.manifest, dims or {}, seed)
    times = [call_time(session, inputs) for _ in range(warmup + repeats)][warmup:]
    p10, median, p90 = (float(1e3 * value) for value in np.percentile(times, [10, 50, 90]))
    shape = inputs[session.inputs[0].name].shape
    batch = shape[0] if shape else 1
    return BenchResult(
        session.target, chosen_dims(session.manifest, dims or {}), batch, repeats, median, p10, p90, 1e3 * batch / median, peak_mb()
    )


def call_time(session: Session, inputs: Mapping[str, object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    session.run(inputs)
    return time.perf_counter() - start
