"""Verify: every target of a bundle against the unfused definition of its spec, at several sizes; the first divergence has a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamina.accuracy import Accuracy, accuracies
from lamina.blame import Divergence, blamed, computed, not_finite, relative_error, values_of
from lamina.compiler.adapters import adapted_weights, with_adapters
from lamina.compiler.elaborate import Elaborated, elaborate
from lamina.compiler.reference import Reference, reference
from lamina.located import diagnosed
from lamina.runtime import BackendMissing, BundleError, InputError, Session
from lamina.runtime.batches import read_batches
from lamina.runtime.feeds import checked, first_sizes
from lamina.runtime.manifest import Manifest, OnnxTarget, Range, TensorRTTarget, read_manifest
from lamina.runtime.rooms import Rooms
from lamina.runtime.samples import sample_inputs
from lamina.schema.diagnostics import Diagnostic
from lamina.schema.read import read_spec
from lamina.work import Work, applies_blocks, work_of

Array = np.ndarray[Any, Any]
TOLERANCE = {"float64": 1e-6, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
ROUNDED = 1e-1  # where layers round their inputs to 8 bits in groups; what is seen is 1e-2 to 3e-2, and of wrong weights 1
ROUNDED_WHOLE = 3e-1  # where they round them as a whole, so that one large number counts for all; 0.15 is seen

_SHOWN = 3  # steps of a target


@dataclass(frozen=True, slots=True)
class Comparison:
    """One target at one point: the largest error of an output, relative to the reference's largest magnitude.

    Where it fails, `divergences` are the first steps that part from their definitions.
    Of a target whose weights are rounded the reference has the same weights; `rounding` is how far that is from the reference without.
    """

    target: str
    dims: Mapping[str, int]
    error: float
    tolerance: float
    divergences: tuple[Divergence, ...] = ()
    rounding: float | None = None

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance


@dataclass(frozen=True, slots=True)
class Report:
    """Every comparison, what the reference was, the targets that could not run here (with the reason), and how much experts worked.

    `accuracy` is that of each target on the user's own inputs, where there are any.
    Where the definition's own outputs are not finite, `not_finite` is the step that they come from. `failures` say of targets that ONNX
    Runtime does not open, or cannot run, at which lines.
    """

    reference: str
    comparisons: tuple[Comparison, ...]
    skipped: Mapping[str, str]
    work: tuple[Work, ...] = ()
    not_finite: Divergence | None = None
    failures: Mapping[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    accuracy: tuple[Accuracy, ...] = ()

    @property
    def passed(self) -> bool:
        sound = bool(self.comparisons or self.accuracy) and not self.failures
        return sound and all(c.passed for c in self.comparisons) and all(w.passed for w in self.work)


def verify(
    bundle: Path | str,
    weights: Path | str | None = None,
    progress: Callable[[str], None] = lambda stage: None,
    *,
    blame: bool = False,
    inputs: Sequence[str | Path] = (),
) -> Report:
    """Compare a bundle's targets with the reference.

    `weights` is the checkpoint that the bundle was compiled from; without it seeded weights are drawn again, and other
    weights are read back from the bundle. With `blame`, steps are compared too where outputs agree. `inputs` are a user's own, as
    `read_batches` takes them: how far each target is from the definition on them is reported, and decides nothing. Layers that are
    rounded in ranges of such data are looked at on them alone. Raises BundleError, SpecError, InputError.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    spec = read_spec(folder / "spec.yaml")
    model = elaborate(spec)
    if manifest.adapters:
        model = with_adapters(model, adapted_weights([tensor.name for tensor in manifest.inputs]))
    judge = reference(spec, model, folder, manifest.weights.source, weights)
    calls = list(read_batches(inputs, folder, manifest))
    points = list(sample_points(manifest))
    expected = []
    for point in points:
        progress(f"reference at {_shown(point)}")
        sampled = sample_inputs(manifest, point)
        expected.append((point, sampled, computed(sampled, judge, model)))
    comparisons: list[Comparison] = []
    work: list[Work] = []
    skipped: dict[str, str] = {}
    failures: dict[str, tuple[Diagnostic, ...]] = {}
    accuracy: list[Accuracy] = []
    for target, built in manifest.targets.built().items():
        progress(f"verify {target}")
        try:
            if not (isinstance(built, OnnxTarget) and built.rounded):
                comparisons += _compare(folder, manifest, target, expected, judge, model, blame)
            elif built.calibrated:
                if not calls:
                    raise _Skipped("its ranges are those of somebody's data, not of random numbers; give such data with --inputs")
            else:
                tolerance = ROUNDED_WHOLE if "int8-dynamic" in built.kept else ROUNDED
                rounded = reference(spec, model, folder, manifest.weights.source, weights, built.precision)
                comparisons += _compare_rounded(folder, manifest, target, judge, rounded, tolerance)
            accuracy += accuracies(folder, manifest, target, judge, calls) if calls else ()
        except (_Skipped, BackendMissing) as reason:
            lacking = diagnosed(reason, folder / built.file, model, target, built.left_out) if isinstance(built, OnnxTarget) else ()
            skipped[target] = "; ".join([str(reason), *(f"{d.span}: {d.message}" for d in lacking)])
        except (BundleError, InputError) as error:
            found = diagnosed(error, folder / built.file, model, target, built.left_out) if isinstance(built, OnnxTarget) else ()
            if not found:
                raise
            failures[target] = found
        if isinstance(built, OnnxTarget) and target not in failures and applies_blocks(model):
            point, sampled, _ = expected[-1]
            work += work_of(folder / built.file, target, Rooms(manifest, built.preallocated).with_room(sampled), point, model)
    odd = next((sampled for _, sampled, outputs in expected if not all(map(_finite, outputs.values()))), None)
    not_a_number = None if odd is None else not_finite(odd, judge, model)
    return Report(judge.name, tuple(comparisons), skipped, tuple(work), not_a_number, failures, tuple(accuracy))


def sample_points(manifest: Manifest, limit: int = 64) -> Iterator[dict[str, int]]:
    """Three points of the dynamic dims: all at their smallest, a middle one, and all near their `opt` (batches kept small)."""
    dims = manifest.dims
    seen = []
    picks: tuple[Callable[[Range], int], ...] = (
        lambda r: r.min,
        lambda r: min(r.max, r.min + r.multiple_of),
        lambda r: min(r.opt, max(r.min, limit // r.multiple_of * r.multiple_of)),
    )
    for pick in picks:
        point = manifest.fitting({name: pick(extent) for name, extent in dims.items()})
        if point not in seen:
            seen.append(point)
            yield point


class _Skipped(Exception):
    """A target that this machine cannot run."""


def _compare(
    folder: Path,
    manifest: Manifest,
    target: str,
    expected: Sequence[tuple[dict[str, int], dict[str, Array], dict[str, Array]]],
    judge: Reference,
    model: Elaborated,
    blame: bool,
) -> list[Comparison]:
    found = []
    with Session(folder, backend=target) as session:  # type: ignore[arg-type]
        for point, inputs, wanted in expected:
            got = session.run(inputs)
            worst = max(relative_error(got[name], wanted[name]) for name in wanted)
            tolerance = tolerance_of(manifest, target)
            asked = blame or worst > tolerance
            made = values_of(target, folder, manifest, inputs, judge, model) if asked else {}
            steps = blamed(made, inputs, judge, model, tolerance) if made else []
            found.append(Comparison(target, point, worst, tolerance, tuple(steps[:_SHOWN])))
    return found


def _compare_rounded(
    folder: Path, manifest: Manifest, target: str, exact: Reference, judge: Reference, tolerance: float
) -> list[Comparison]:
    """A target whose weights are rounded, and which rounds what they multiply as it runs: errors are root mean squares.

    Its calls are first calls: what random states make of a network says nothing of it.
    """
    found = []
    states = {name for state in manifest.states for name in (state.past, state.present)}
    with Session(folder, backend=target) as session:  # type: ignore[arg-type]
        for point in sample_points(manifest):
            point = {**point, **first_sizes(manifest, ())}
            sampled = sample_inputs(manifest, point)
            inputs = checked(manifest, {name: array for name, array in sampled.items() if name not in states})
            got, wanted, unrounded = session.run(inputs), judge.outputs(inputs), exact.outputs(inputs)
            outputs = [name for name in wanted if name not in states]
            error, rounding = (max(_rms_error(a[n], b[n]) for n in outputs) for a, b in ((got, wanted), (wanted, unrounded)))
            found.append(Comparison(target, point, error, tolerance, rounding=rounding))
    return found


def _rms_error(got: Array, wanted: Array) -> float:
    """The root of the mean squared difference, over that of the reference; infinite when shapes differ."""
    if got.shape != wanted.shape:
        return float("inf")
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    return float(np.sqrt(np.square(a - b).mean() / max(float(np.square(b).mean()), 1e-60))) if a.size else 0.0


def tolerance_of(manifest: Manifest, target: str) -> float:
    """That of the narrowest dtype that an output has, or that layers multiply in."""
    built = manifest.targets.built()[target]
    narrow = built.kept if isinstance(built, TensorRTTarget) else frozenset()
    return max(TOLERANCE.get(dtype, 0.0) for dtype in (*narrow, *(tensor.dtype for tensor in manifest.outputs)))


def _finite(array: Array) -> bool:
    return bool(np.isfinite(array).all()) if np.issubdtype(array.dtype, np.floating) else True


def _shown(point: Mapping[str, int]) -> str:
    return ", ".join(f"{k}={v}" for k, v in point.items()) or "fixed sizes"
