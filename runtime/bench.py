"""How long a session takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lamina.runtime.errors import InputError
from lamina.runtime.samples import chosen_dims, sample_inputs
from lamina.runtime.session import Session


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Wall-clock milliseconds of a call. `throughput` is items a second: the first input's leading size over the median."""

    target: str
    dims: dict[str, int]
    batch: int
    repeats: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    throughput: float


def bench(session: Session, dims: Mapping[str, int] | None = None, warmup: int = 5, repeats: int = 30, seed: int = 0) -> BenchResult:
    """Time `repeats` calls after `warmup` on random inputs at these dims (others at their optimum). InputError for dims out of range."""
    if repeats < 1 or warmup < 0:
        raise InputError(f"{repeats} repeats after {warmup} calls of warm-up: give at least 1 and 0")
    inputs = sample_inputs(session.manifest, dims or {}, seed)
    times = [_seconds(session, inputs) for _ in range(warmup + repeats)][warmup:]
    p10, median, p90 = (float(1e3 * value) for value in np.percentile(times, [10, 50, 90]))
    shape = inputs[session.inputs[0].name].shape
    batch = shape[0] if shape else 1
    return BenchResult(session.target, chosen_dims(session.manifest, dims or {}), batch, repeats, median, p10, p90, 1e3 * batch / median)


def _seconds(session: Session, inputs: Mapping[str, object]) -> float:
    start = time.perf_counter()
    session.run(inputs)
    return time.perf_counter() - start
