"""What makes a bundle fastest on this machine at a user's own sizes, measured: session settings, and what its file is written without.

Alternatives are tried one after the other against what was chosen so far, in turns, and one is kept only where it was faster in nine rounds
of ten. What was chosen is then held against the bundle as it would be by itself, in rounds of their own, so that luck does not pass.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any, final

import numpy as np

from lamina.blame import relative_error
from lamina.compiler.elaborate import elaborate
from lamina.compiler.lower import choices
from lamina.runtime import BackendMissing, BundleError, InputError, Session, machine
from lamina.runtime.bench import call_time
from lamina.runtime.manifest import Manifest, read_manifest
from lamina.runtime.samples import chosen_dims, sample_inputs
from lamina.runtime.tuning import Settings, Trial, Tuning
from lamina.schema.diagnostics import SpecError
from lamina.schema.spec import ModelSpec
from lamina.verify import sample_points, tolerance_of

Array = np.ndarray[Any, Any]
Build = Callable[[Path, Tuning | None], Path]  # writes a bundle of the target onnxruntime
Clock = Callable[[Session, Mapping[str, Array]], float]
Progress = Callable[[str], None]
_ROUNDS, _WARM = 15, 3
_SLOW_ROUNDS, _SLOW = 3, 0.8  # after so many rounds, an alternative that was never faster than this is left
_SAMPLE, _MOST_CALLS = 5e-3, 100  # seconds that one timing takes at least, of so many calls at most


@final
@dataclass(frozen=True, slots=True)
class Candidate:
    """How a bundle could be written and run."""

    settings: Settings = field(default_factory=Settings)
    left_out: frozenset[str] = frozenset()

    def without(self, name: str) -> Candidate:
        return replace(self, left_out=self.left_out | {name})

    def with_settings(self, **changed: Any) -> Candidate:
        return replace(self, settings=self.settings.model_copy(update=changed))


Change = Callable[[Candidate], Candidate]


def tune(
    spec: ModelSpec,
    build: Build,
    folder: Path,
    at: Mapping[str, int] | None = None,
    progress: Progress = lambda stage: None,
    clock: Clock = call_time,
) -> Tuning:
    """What was measured to be fastest. `build` writes the bundles that are tried, into folders inside `folder`, which are removed again.

    `at` are sizes of dims; the others have their optimum. Each alternative must compute what the bundle computes by itself, there and at
    other sizes. Raises InputError for sizes out of range, and what `build` raises for the bundle by itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        progress("compile to measure")
        bench = _Bench(build, Path(place), dict(at or {}), clock)
        trials: list[Trial] = []
        best = plain = Candidate()
        for what, change in _alternatives(spec, bench.manifest, at or {}):
            progress(f"try {what}")
            trials.append(bench.trial(what, best, change(best)))
            best = change(best) if trials[-1].kept else best
        if best != plain:
            progress("measure the choice")
            trials.append(bench.trial("all that was kept, against none of it", plain, best))
            best = best if trials[-1].kept else plain
        return bench.tuning(best, tuple(trials))


def _alternatives(spec: ModelSpec, manifest: Manifest, at: Mapping[str, int]) -> Iterator[tuple[str, Change]]:
    """What may be faster, and how it changes a candidate."""
    for name in choices(elaborate(spec).graph):
        yield f"without {name}", lambda c, name=name: c.without(name)  # type: ignore[misc]
    yield "optimisation: extended", lambda c: c.with_settings(optimisation="extended")
    for threads in _thread_counts(machine.cores()):
        yield f"threads: {threads}", lambda c, threads=threads: c.with_settings(threads=threads)  # type: ignore[misc]
    yield "spinning: false", lambda c: c.with_settings(spinning=False)
    yield "arena: false", lambda c: c.with_settings(arena=False)
    yield "memory_pattern: false", lambda c: c.with_settings(memory_pattern=False)
    yield "parallel: true", lambda c: c.with_settings(parallel=True)
    if at and not manifest.states:
        sizes = ", ".join(f"{dim}={size}" for dim, size in at.items())
        yield f"fixed sizes: {sizes}", lambda c: c.with_settings(sizes=dict(at))


def _thread_counts(cores: int) -> list[int]:
    """Powers of two below, and all."""
    return [*(2**power for power in range((cores - 1).bit_length())), cores]


@final
class _Bench:
    """Candidates as sessions that are timed against each other."""

    def __init__(self, build: Build, folder: Path, at: dict[str, int], clock: Clock) -> None:
        self._build, self._folder, self._clock, self._numbers = build, folder, clock, count()
        self._bundles = {frozenset[str](): build(folder / "plain", None)}
        self.manifest = read_manifest(folder / "plain")
        self.at = chosen_dims(self.manifest, at)
        points = [self.at, *(point for point in sample_points(self.manifest) if point != self.at)]
        self._inputs = [sample_inputs(self.manifest, point) for point in points]
        with self._session(Candidate()) as session:
            self._expected = [session.run(inputs) for inputs in self._inputs]

    def tuning(self, chosen: Candidate, trials: tuple[Trial, ...]) -> Tuning:
        """A choice, with where it was measured."""
        from importlib.metadata import version

        return Tuning(
            settings=chosen.settings,
            left_out=tuple(sorted(chosen.left_out)),
            at=self.at,
            processor=machine.processor(),
            features=machine.features(),
            cores=machine.cores(),
            onnxruntime=version("onnxruntime"),
            trials=trials,
        )

    def trial(self, what: str, current: Candidate, other: Candidate) -> Trial:
        """How many times as fast the other is, where it computes the same."""
        try:
            with self._session(current) as old, self._session(other) as new:
                found = self._compared(what, old, new)
        except (BackendMissing, BundleError, InputError, SpecError) as error:
            found = Trial(what=what, refused=f"it cannot run: {error}"[:1000])
        if not found.kept and other.left_out not in (current.left_out, frozenset()) and other.left_out in self._bundles:
            shutil.rmtree(self._bundles.pop(other.left_out))
        return found

    def _compared(self, what: str, old: Session, new: Session) -> Trial:
        if wrong := self._difference(new):
            return Trial(what=what, refused=wrong)
        low, ratio, high = (float(value) for value in np.percentile(self._ratios(old, new), [10, 50, 90]))
        return Trial(what=what, ratio=ratio, low=low, high=high, kept=low > 1)

    def _session(self, candidate: Candidate) -> Session:
        if candidate.left_out not in self._bundles:
            folder = self._folder / str(next(self._numbers))
            self._bundles[candidate.left_out] = self._build(folder, self.tuning(replace(candidate, settings=Settings()), ()))
        bundle = self._bundles[candidate.left_out]
        return Session(bundle, "onnxruntime", ["CPUExecutionProvider"], verify=False, settings=candidate.settings)

    def _difference(self, session: Session) -> str:
        """How its outputs differ from the bundle's by itself; nothing where they are the same but for rounding."""
        most = tolerance_of(self.manifest, "onnxruntime")
        for inputs, expected in zip(self._inputs, self._expected, strict=True):
            made = session.run(inputs)
            worst = max(relative_error(made[name], expected[name]) for name in expected)
            if not worst <= most:
                return f"it computes something else: error {worst:.1e} (at most {most:.0e})"
        return ""

    def _ratios(self, old: Session, new: Session) -> list[float]:
        """The old one's time over the new one's, in each round; who begins changes from round to round."""
        inputs = self._inputs[0]
        first = [self._clock(session, inputs) for _ in range(_WARM) for session in (old, new)]
        calls = max(1, min(_MOST_CALLS, ceil(_SAMPLE / max(min(first), 1e-9))))
        ratios: list[float] = []
        for number in range(_ROUNDS):
            order = (old, new) if number % 2 else (new, old)
            times = {id(session): sum(self._clock(session, inputs) for _ in range(calls)) for session in order}
            ratios.append(times[id(old)] / times[id(new)])
            if number + 1 == _SLOW_ROUNDS and max(ratios) < _SLOW:
                break
        return ratios
