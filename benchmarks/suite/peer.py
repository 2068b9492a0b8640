"""What takes part in a race: something that prepares a model, as a user of it would, and then runs it."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.suite import peers
from benchmarks.suite.model import Model

Array = np.ndarray[Any, Any]
Run = Callable[[], Array]


@dataclass(frozen=True, slots=True)
class Job:
    """A model, the inputs of one batch size, the threads to use, and a folder for a peer's files."""

    model: Model
    inputs: Mapping[str, Array]
    threads: int
    folder: Path


class Peer(ABC):
    """One file of `peers/`, which has one such class."""

    name: ClassVar[str]

    @abstractmethod
    def prepare(self, job: Job) -> None:
        """Write what `load` reads."""

    @abstractmethod
    def load(self, job: Job) -> Run:
        """What gives the first output, again and again."""


def all_peers() -> dict[str, type[Peer]]:
    """By their names."""
    found: dict[str, type[Peer]] = {}
    for info in pkgutil.iter_modules(peers.__path__):
        module = importlib.import_module(f"{peers.__name__}.{info.name}")
        (kind,) = (
            k
            for k in vars(module).values()
            if isinstance(k, type) and issubclass(k, Peer) and k is not Peer and k.__module__ == module.__name__
        )
        found[kind.name] = kind
    return found
