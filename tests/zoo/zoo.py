"""The specs of the zoo as cases: small or whole, with weights and inputs, and what the unfused definition makes of them in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
from lamina.compiler.targets.torch import LaminaModule, to_module
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
def small_case(path: Path) -> Case:
    """The small variant that shows a builder most."""
    return richest(small_cases(path))


def small_cases(path: Path) -> Iterator[Case]:
    """Every variant of a spec, small."""
    return (replace(case, small=True) for case in variants(path))


def richest(cases: Iterable[Case]) -> Case:
    """The case with most kinds of node, in the smallest graph. A kind is an op, its arguments, and the types of what it is given."""

    def rank(case: Case) -> tuple[int, int]:
        steps = [repr((node.op, [v and str(v.type) for v in node.inputs])) for node in model(case).graph.nodes]
        return len(set(steps)), -len(steps)

    return max(cases, key=rank)


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


def trained_module(case: Case) -> LaminaModule:
    """In train mode, with the outputs that only training has."""
    found = model(case)
    return to_module(lower(found.trained, "torch"), Lively(), frozenset(value.name for value in found.graph.outputs)).train()


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
    module = LaminaModule(graph, Lively(), wide=True).eval()
    return [(feeds, outputs_of(module, _wide(feeds), names)) for feeds in (inputs(found, p) for p in chosen)]


def _wide(feeds: dict[str, Array]) -> dict[str, Array]:
    return {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in feeds.items()}


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
