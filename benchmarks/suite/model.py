"""What is raced: a variant of the zoo, and a network of somebody else's that computes the same."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.suite import families

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lamina.schema.spec import ModelSpec

ZOO = Path(__file__).resolve().parents[2] / "specs"


@dataclass(frozen=True, slots=True)
class Network:
    """Somebody else's network, and how it is called with the first inputs of the spec to give the spec's first output."""

    build: Callable[[], nn.Module]
    call: Callable[..., Tensor]  # (network, *inputs)
    inputs: int = 1


@dataclass(frozen=True, slots=True)
class Model:
    """A variant of the zoo at these sizes; `batch` names the dim that is set to 1 and 8 times `each`.

    Where no package has such a network, `network` is None, and peers run what PyTorch makes of our own module.
    """

    spec: str
    variant: str | None = None
    network: Network | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    batch: str = "N"
    each: int = 1  # of that dim in a batch of one

    @property
    def name(self) -> str:
        return f"{self.spec} {self.variant}" if self.variant else self.spec

    def load(self) -> ModelSpec:
        """Without a tokenizer, whose file lies beside published weights only."""
        import lamina

        return lamina.load(ZOO / f"{self.spec}.yaml", variant=self.variant).model_copy(update={"tokenizer": None})

    def at(self, batch: int) -> dict[str, int]:
        """The size of every dim that is chosen."""
        return {**self.dims, self.batch: batch * self.each}


def models() -> dict[str, list[Model]]:
    """All, by their family: a file of `families/` each."""
    found: dict[str, list[Model]] = {}
    for module in pkgutil.iter_modules(families.__path__):
        made: Sequence[Model] = importlib.import_module(f"{families.__name__}.{module.name}").MODELS
        found[module.name] = list(made)
    return found


def one(name: str) -> Model:
    """The model of that name."""
    return next(m for members in models().values() for m in members if m.name == name)
