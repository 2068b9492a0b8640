"""The specs of the zoo as cases: small or whole, with weights and inputs, and what the unfused definition makes of them in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.elaborate.model import Elaborated
from lamina.compiler.graph import Parameter
from lamina.compiler.lower import lower
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.passes.drop_identity import drop_identity
from lamina.compiler.targets.torch import LaminaModule, run_values, to_module
from lamina.compiler.weights.seeded import Init, seeded
from lamina.compiler.weights.tensor import ArrayTensor, Tensor
from lamina.schema.dims import FLOATS, value_of
from lamina.schema.spec import ModelSpec

Array = np.ndarray[Any, Any]
SPECS = Path(__file__).parents[2] / "specs"
TOLERANCE = 1e-5  # of the largest magnitude. 1e-4 is what is promised; 2e-6 is what is seen, and a wrong epsilon can be as little as 4e-5


@dataclass(frozen=True)
class Case:
    """A spec and one of its variants (None where it has none), whole or with its `small` sizes."""

    path: Path
    variant: str | None
    small: bool = False

    def __str__(self) -> str:
        return f"{self.path.stem}-{self.variant or 'default'}"

    def spec(self) -> ModelSpec:
        """Without its rules for checkpoints and its tokenizer: weights are drawn here."""
        spec = lamina.load(self.path, variant=self.variant, small=self.small)
        return spec.model_copy(update={"weights": None, "tokenizer": None})


def files() -> Iterator[Path]:
    """Every model file of the zoo."""
    return (path for path in sorted(SPECS.rglob("*.yaml")) if path.parent.name != "blocks")


def variants(path: Path) -> Iterator[Case]:
    """Every variant of a spec, whole."""
    return (Case(path, variant) for variant in (lamina.load(path).variants or [None]))


@cache
def kinds(path: Path) -> tuple[Case, ...]:
    """Small cases that hold every kind of node which any of the spec's variants has when it is small, in the smallest graphs that do.

    A kind is an op, its arguments, and the types of what it is given: a builder meets nothing new in the other variants.
    """
    steps = {case: _steps(case) for case in (replace(case, small=True) for case in variants(path))}
    kept = {case: set(found) for case, found in steps.items()}
    for case in sorted(steps, key=lambda case: -len(steps[case])):
        others = (kinds for other, kinds in kept.items() if other != case)
        if kept[case] <= set().union(*others):
            del kept[case]
    return tuple(kept)


def _steps(case: Case) -> list[str]:
    """The ops with their arguments, and the types of what they are given."""
    return [repr((node.op, [v and str(v.type) for v in node.inputs])) for node in elaborate(case.spec()).graph.nodes]


@lru_cache(maxsize=2)
def model(case: Case) -> Elaborated:
    """The graph of ops."""
    return elaborate(case.spec())


@final
class Lively:
    """Seeded weights with which every block matters: what would start at a constant is drawn around it, at a scale that counts.

    A layer scale of 1e-6, say, would hide all that stands before it.
    """

    def get(self, parameter: Parameter) -> Tensor:
        start = Init.parse(parameter.init)
        if start.distribution != "constant":
            return seeded(parameter, 0)
        drawn = seeded(replace(parameter, init="uniform(0.25)"), 0).numpy() + np.float32(start.scale != 0)
        return ArrayTensor(parameter.name, parameter.dtype, drawn.shape, drawn)


def points(model: Elaborated) -> Iterator[dict[str, int]]:
    """Three points of the dynamic dims, with different values for different dims."""
    for k in range(3):
        steps = ((0, 1, 4)[(k + i) % 3] for i in range(len(model.dims)))
        yield {n: min(d.min + step * d.multiple_of, d.max) for (n, d), step in zip(model.dims.items(), steps, strict=True)}


def inputs(model: Elaborated, point: dict[str, int]) -> dict[str, Array]:
    """Normal floats; integers are 0 or 1, and 1 first, since they are tokens or masks."""
    rng = np.random.default_rng(0)
    drawn = {}
    for value in model.graph.inputs:
        shape = tuple(value_of(size, point) for size in value.shape)
        array = rng.standard_normal(shape) if value.dtype in FLOATS else rng.integers(0, 2, shape)
        if value.dtype not in FLOATS and value.shape and array.size:
            array[..., 0] = 1
        drawn[value.name] = array.astype(value.dtype)
    return drawn


def torch_module(case: Case) -> LaminaModule:
    return to_module(lower(model(case).graph, "torch"), Lively())


def outputs_of(module: Callable[..., Any], feeds: dict[str, Array], names: list[str]) -> dict[str, Array]:
    with torch.inference_mode():
        found = module(**{k: torch.from_numpy(v) for k, v in feeds.items()})
    found = found if isinstance(found, dict) else {names[0]: found}
    return {k: v.numpy() for k, v in found.items()}


@lru_cache(maxsize=2)
def expected(case: Case) -> list[tuple[dict[str, Array], dict[str, Array]]]:
    """Inputs, and what the unfused definition gives for them in float64, at each point; of a whole variant at the first."""
    found = model(case)
    chosen = list(points(found))[: None if case.small else 1]
    graph = drop_identity(decompose(found.graph, "definition"))
    names = [v.name for v in graph.outputs]
    return [(feeds, run_values(graph, Lively(), feeds, names, wide=True)) for feeds in (inputs(found, p) for p in chosen)]


def assert_agree(got: dict[str, Array], want: dict[str, Array], what: str) -> float:
    """The largest error, relative to the reference's largest magnitude, which must be within the tolerance; integers are equal."""
    return max(_error(got[name], reference, f"{what}: {name}", name.startswith("present.")) for name, reference in want.items())


def _error(got: Array, want: Array, what: str, state: bool) -> float:
    assert got.shape == want.shape, what
    if want.dtype.kind != "f" or (state and not want.any()):  # of neurons of which none has fired
        np.testing.assert_array_equal(got, want, what)
        return 0.0
    if want.size == 0:
        return 0.0
    magnitude = np.abs(want).max()
    assert magnitude > 0, what
    error = float(np.abs(got - want).max() / magnitude)
    assert error <= TOLERANCE, f"{what} is {error:.2g} of its largest magnitude away"
    return error
