"""What the references computed: each case is `expected/FAMILY/NAME/CASE.json` (what was run) and `.npz` (its outputs)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fill import Array, Draw, Scale, fill

EXPECTED = Path(__file__).parent / "expected"


@dataclass(frozen=True)
class Reference:
    """A spec and the reference that was run for it: the checkpoint's keys and shapes, the inputs of each run, and what it counts."""

    spec: str  # vision/vit
    name: str  # of the case
    reference: str  # timm 1.0.31
    variant: str | None
    small: bool
    config: Mapping[str, Any]
    sweep: bool  # too large for CI
    tolerance: float  # of the largest magnitude
    parameters: int
    macs: int | None
    at: Mapping[str, int]  # the sizes at which `macs` was counted
    state: Mapping[str, tuple[int, ...]]
    points: tuple[Mapping[str, Draw], ...]
    scales: tuple[Scale, ...] = field(default=())
    every: int = 1  # of an image's rows and columns, those that are stored

    def __str__(self) -> str:
        return f"{self.spec.split('/')[1]}-{self.name}"

    @property
    def whole(self) -> bool:
        """Whether it is of the published variant itself."""
        return not self.small and not self.config

    def checkpoint(self) -> dict[str, Array]:
        """The weights under the reference's keys."""
        return {key: fill(key, tuple(shape), self.scales) for key, shape in self.state.items()}

    def inputs(self) -> list[dict[str, Array]]:
        """The inputs of each run."""
        return [{name: draw.array(name) for name, draw in point.items()} for point in self.points]

    def outputs(self) -> list[dict[str, Array]]:
        """What the reference gave in each run."""
        with np.load(self._path(".npz")) as stored:
            found: list[dict[str, Array]] = [{} for _ in self.points]
            for key in stored:
                run, _, name = key.partition(".")
                found[int(run)][name] = stored[key]
        return found

    def thin(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """What is stored of outputs: of images every so many rows and columns."""
        step = self.every
        return {k: v[..., ::step, ::step] if v.ndim == 4 and min(v.shape[2:]) > step else v for k, v in outputs.items()}

    def write(self, outputs: list[dict[str, Array]]) -> None:
        """Store the case and its outputs."""
        self._path(".json").parent.mkdir(parents=True, exist_ok=True)
        self._path(".json").write_text(json.dumps(asdict(self), separators=(",", ":")) + "\n", encoding="utf-8")
        np.savez_compressed(self._path(".npz"), **{f"{i}.{k}": v for i, run in enumerate(outputs) for k, v in run.items()})

    def _path(self, suffix: str) -> Path:
        return EXPECTED / self.spec / f"{self.name}{suffix}"


def references() -> Iterator[Reference]:
    """Every stored case, small ones first, so that what is recorded last is of the published sizes."""
    found = [_read(path) for path in sorted(EXPECTED.glob("*/*/*.json")) if path.with_suffix(".npz").is_file()]
    return iter(sorted(found, key=lambda case: (case.spec, case.whole)))


def _read(path: Path) -> Reference:
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["points"] = tuple({name: Draw(**draw) for name, draw in point.items()} for point in raw["points"])
    raw["scales"] = tuple(Scale(**scale) for scale in raw["scales"])
    return Reference(**raw)
