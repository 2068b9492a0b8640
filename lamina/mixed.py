"""A precision for each layer, by what it does to the model's outputs on a user's own data."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, final

import numpy as np

from lamina.choice import Choice, Problem, nearest, smallest
from lamina.compiler.compile import RANGES, Given, compile, weight_source
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Parameter
from lamina.compiler.precision import conv_weights, linear_weights
from lamina.compiler.weights.quantize import Quantizer
from lamina.runtime import InputError, Session
from lamina.runtime.batches import read_batches
from lamina.runtime.manifest import read_manifest
from lamina.schema.diagnostics import Span
from lamina.schema.dims import Precision
from lamina.schema.spec import ModelSpec, WeightPrecision

Array = np.ndarray[Any, Any]
Progress = Callable[[str], None]
Precisions = Mapping[str, Precision]  # by weight; float32 for those that are not there
_MOST = 2**18  # numbers of an output that are compared
_ROUNDS = 6  # of tightening and loosening what is predicted, until what is measured fits


@final
@dataclass(frozen=True, slots=True)
class Option:
    """A layer in a precision: its weight, the bytes of that, and the error of the outputs where it alone is not in float32."""

    weight: str
    precision: Precision
    size: int
    error: float


@final
@dataclass(frozen=True, slots=True)
class Mixed:
    """What layers are kept in. Errors are root mean squares over those of the outputs: the one that the layers' own effects add up to,
    and the one that is measured. `size` is in bytes of the layers' weights, which are `whole` in float32."""

    precisions: Precisions
    predicted: float
    measured: float
    size: int
    whole: int
    options: tuple[Option, ...]

    def rules(self) -> dict[str, Precision]:
        """The shortest `precision:` section that says it: what differs from most layers, then most."""
        common = Counter(self.precisions.values()).most_common(1)[0][0]
        return {**{name: kept for name, kept in self.precisions.items() if kept != common}, "*": common}


def mixed(
    spec: ModelSpec,
    data: Sequence[str | Path],
    among: Sequence[Precision] = ("int8", "int4"),
    *,
    error: float | None = None,
    size: int | None = None,
    weights: Given = None,
    seed: int = 0,
    progress: Progress = lambda stage: None,
) -> Mixed:
    """The fewest bytes whose measured error on the data is at most `error`, or the least predicted error of at most `size` bytes.

    Each layer is compiled and run once in each precision of `among`, the others in float32; what the spec's own `precision` says does
    not count. Raises InputError, and what `compile` raises.
    """
    if (error is None) == (size is None):
        raise ValueError("give one of `error` and `size`")
    layers = _layers(spec, among, weights, seed)
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(spec, Path(folder), data, weights, seed)
        options, changes = _measured(bench, layers, progress)
        problem = _problem(layers, options, changes)
        names = [(name, "float32") for name in layers] + [(option.weight, option.precision) for option in options]

        def kept(choice: Choice) -> dict[str, Any]:
            return dict(names[place] for place in choice)

        def measure(choice: Choice) -> float:
            progress("measure a choice")
            return _norm(bench.change(kept(choice)))

        choice = nearest(problem, size or 0) if error is None else _within(problem, error, measure)
        whole = int(problem.sizes[: len(layers)].sum())
        return Mixed(kept(choice), problem.error(choice), measure(choice), problem.size(choice), whole, tuple(options))


def _within(problem: Problem, error: float, measure: Callable[[Choice], float]) -> Choice:
    """The smallest choice found whose measured error fits; what is predicted for it may be more, or less."""
    best = smallest(problem, 0.0)
    fits, fails, target = 0.0, np.inf, error
    for _ in range(_ROUNDS):
        choice = smallest(problem, target)
        found = measure(choice)
        if found <= error:
            best, fits = min(best, choice, key=problem.size), target
        else:
            fails = target
        if found == 0 or (np.isfinite(fails) and fails - fits < 0.02 * fails):
            break
        between = fits > 0 and np.isfinite(fails)
        target = (fits + fails) / 2 if between else target * min(max(error / found, 0.25), 4)
    return best


def _layers(spec: ModelSpec, among: Sequence[Precision], weights: Given, seed: int) -> dict[str, tuple[Parameter, dict[Precision, int]]]:
    """The weights of which some precision is, and the bytes in each. InputError if there are none."""
    model = elaborate(spec)
    source = weight_source(spec, model, weights, seed).weights
    matrices = {matrix.name: matrix for _, _, matrix in linear_weights(model.graph)}
    filters = {weight.name: weight for weight in conv_weights(model.graph)} if "int8-static" in among else {}
    found: dict[str, tuple[Parameter, dict[Precision, int]]] = {}
    for name, parameter in (matrices | filters).items():
        sizes = {p: size for p in among if (size := _bytes(parameter, p, Quantizer(source, p))) is not None}
        if sizes:
            found[name] = (parameter, sizes)
    if not found:
        raise InputError(f"the model has no layer that may be in {' or '.join(among)}")
    return found


def _bytes(parameter: Parameter, precision: Precision, quantizer: Quantizer) -> int | None:
    """Bytes of a weight; None where it is not kept so."""
    count = _count(parameter)
    if precision in ("float32", "int8-static"):
        return 4 * count if precision == "float32" else count + 4 * int(parameter.shape[0])  # type: ignore[arg-type]
    layout = quantizer.layout(parameter) if parameter.rank == 2 else None
    if layout is None:
        return None
    scale = {"float16": 2, "float32": 4}[layout.dtype] * (len(layout.parts) - 1)
    return count * layout.bits // 8 + count // layout.group * scale


def _count(parameter: Parameter) -> int:
    return prod(size for size in parameter.shape if isinstance(size, int))


def _measured(
    bench: _Bench, layers: Mapping[str, tuple[Parameter, Mapping[Precision, int]]], progress: Progress
) -> tuple[list[Option], list[Array]]:
    """Each layer in each precision, and how it changes the outputs; what changes nothing is none."""
    options: list[Option] = []
    changes: list[Array] = []
    total = sum(len(sizes) for _, sizes in layers.values())
    for name, (_, sizes) in layers.items():
        for precision, size in sizes.items():
            progress(f"{name} in {precision}, {len(options) + 1} of {total}")
            change = bench.change({name: precision})
            if change.any():
                options.append(Option(name, precision, size, _norm(change)))
                changes.append(change)
    return options, changes


def _problem(
    layers: Mapping[str, tuple[Parameter, Mapping[Precision, int]]], options: Sequence[Option], changes: Sequence[Array]
) -> Problem:
    """The layers in float32 come first, which change nothing."""
    exact = [4 * _count(parameter) for parameter, _ in layers.values()]
    gram = np.zeros((len(exact) + len(options),) * 2)
    if changes:
        vectors = np.stack(changes)
        gram[len(exact) :, len(exact) :] = vectors @ vectors.T
    places = [(place, *(len(exact) + n for n, option in enumerate(options) if option.weight == name)) for place, name in enumerate(layers)]
    return Problem(tuple(places), np.array([*exact, *(option.size for option in options)]), gram)


def _norm(change: Array) -> float:
    return float(np.linalg.norm(change))


class _Bench:
    """Compiles the spec with some layers rounded, and runs it on the data."""

    def __init__(self, spec: ModelSpec, folder: Path, data: Sequence[str | Path], weights: Given, seed: int) -> None:
        self._spec, self._folder, self._weights, self._seed = spec, folder, weights, seed
        self._calibration, self._ranged = list(data), False
        bundle = self._compiled({})
        manifest = read_manifest(bundle)
        self._calls = list(read_batches(data, bundle, manifest))
        states = {state.present for state in manifest.states}
        self._outputs = [t.name for t in manifest.outputs if t.name not in states and "float" in t.dtype]
        if not self._calls or not self._outputs:
            raise InputError("there is no call in the data, or no output of floats to compare")
        self._exact = self._run(bundle)

    def change(self, precisions: Precisions) -> Array:
        """How the outputs differ from those in float32, in units of these: one vector for all calls."""
        if not self._ranged and "int8-static" in precisions.values():
            self._calibrate()
        made = self._run(self._compiled(precisions))
        units = [max(float(np.linalg.norm(exact)), 1e-30) * len(self._exact) ** 0.5 for exact in self._exact]
        return np.concatenate([(a - b) / unit for a, b, unit in zip(made, self._exact, units, strict=True)])

    def _calibrate(self) -> None:
        """Find the ranges of all values that any layer may need, once."""
        held, self._ranged = self._compiled({"*": "int8-static"}) / RANGES, True
        if held.exists():
            self._calibration = [held.replace(self._folder / RANGES)]

    def _compiled(self, precisions: Precisions) -> Path:
        span = Span(str(self._spec.path), 1, 1)
        rules = tuple(WeightPrecision(span=span, pattern=name, precision=kept) for name, kept in precisions.items())
        spec = self._spec.model_copy(update={"precision": rules})
        return compile(spec, self._folder / "bundle", ["onnxruntime"], self._weights, self._seed, calibration=self._calibration)

    def _run(self, bundle: Path) -> list[Array]:
        """Each output of all calls, in a row; of very many numbers some."""
        with Session(bundle, backend="onnxruntime", verify=False) as session:
            results = [session.run(call) for call in self._calls]
        rows = [np.concatenate([np.ravel(result[name]) for result in results]).astype(np.float64) for name in self._outputs]
        return [row if row.size <= _MOST else np.random.default_rng(0).choice(row, _MOST, replace=False) for row in rows]
