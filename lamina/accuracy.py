"""How near a target comes to the definition on a user's own inputs: what rounding costs where it matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamina.compiler.reference import Reference
from lamina.runtime import Session
from lamina.runtime.manifest import Manifest

Array = np.ndarray[Any, Any]
_SCORES = ("logits", "logprobs", "probabilities", "scores")  # what outputs that score classes are called


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One output of a target over all samples of the inputs (places along the first axis), held to the definition in full precision.

    `error` is the root of the mean squared difference over that of the definition. `cosine` is the mean over samples, `least_cosine` that
    of the farthest. `agreement` is the share of places where the largest score is the same one, of outputs named `logits` or the like.
    """

    target: str
    output: str
    samples: int
    error: float
    cosine: float
    least_cosine: float
    agreement: float | None = None


@dataclass(slots=True)
class _Tally:
    """Sums over calls."""

    difference: float = 0.0
    power: float = 0.0
    cosines: list[float] = field(default_factory=list)
    agreed: int = 0
    places: int = 0

    def add(self, got: Array, wanted: Array, scores: bool) -> None:
        a, b = got.astype(np.float64), wanted.astype(np.float64)
        self.difference += float(np.square(a - b).sum())
        self.power += float(np.square(b).sum())
        rows = [array.reshape(len(array) if array.ndim else 1, -1) for array in (a, b)]
        norms = np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1)
        self.cosines += ((rows[0] * rows[1]).sum(1) / np.maximum(norms, 1e-300)).tolist()
        if scores:
            same = a.argmax(-1) == b.argmax(-1)
            self.agreed += int(same.sum())
            self.places += same.size

    def accuracy(self, target: str, output: str) -> Accuracy:
        error = float(np.sqrt(self.difference / max(self.power, 1e-300)))
        agreement = self.agreed / self.places if self.places else None
        cosine = (float(np.mean(self.cosines)), min(self.cosines)) if self.cosines else (1.0, 1.0)
        return Accuracy(target, output, len(self.cosines), error, *cosine, agreement)


def accuracies(
    folder: Path, manifest: Manifest, target: str, judge: Reference, calls: Sequence[Mapping[str, Array]]
) -> tuple[Accuracy, ...]:
    """Of each float output of a target, states left out. BackendMissing where the target does not run here."""
    states = {state.present for state in manifest.states}
    outputs = [tensor for tensor in manifest.outputs if tensor.name not in states and "float" in tensor.dtype]
    tallies = {tensor.name: _Tally() for tensor in outputs}
    with Session(folder, backend=target) as session:  # type: ignore[arg-type]
        for call in calls:
            got, wanted = session.run(call), judge.outputs(call)
            for tensor in outputs:
                scores = tensor.name.endswith(_SCORES) and len(tensor.shape) > 1
                tallies[tensor.name].add(got[tensor.name], wanted[tensor.name], scores)
    return tuple(tally.accuracy(target, name) for name, tally in tallies.items())
