"""Our specs against timm: the same checkpoint, the same parameters, the same logits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence import Record
from fill import fill, image
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize

HERE = Path(__file__).parent
SPECS = HERE.parents[1] / "specs" / "vision"
TOLERANCE = 1e-5  # of the largest magnitude; what is seen is about 1e-6


@dataclass(frozen=True)
class Case:
    """A timm model, and our spec and variant of it."""

    timm: str
    spec: str
    variant: str

    def __str__(self) -> str:
        return self.timm


CASES = (
    Case("poolformer_s12", "poolformer", "s12"),
    Case("poolformer_s24", "poolformer", "s24"),
    Case("poolformer_s36", "poolformer", "s36"),
    Case("poolformer_m36", "poolformer", "m36"),
    Case("poolformer_m48", "poolformer", "m48"),
    Case("vit_tiny_patch16_224", "vit", "tiny"),
    Case("vit_small_patch16_224", "vit", "small"),
    Case("vit_base_patch16_224", "vit", "base"),
    Case("mixer_s16_224", "mixer", "s16"),
    Case("mixer_b16_224", "mixer", "b16"),
    Case("convnext_tiny", "convnext", "tiny"),
    Case("resnet18", "resnet", "r18"),
    Case("resnet50", "resnet", "r50"),
)


def facts(case: Case) -> dict[str, Any]:
    """What make_timm.py wrote about the model."""
    found: dict[str, Any] = json.loads((HERE / "expected" / f"{case.timm}.json").read_text())
    return found


def checkpoint(case: Case, folder: Path) -> Path:
    """A safetensors file with timm's keys, filled as make_timm.py filled timm's model."""
    path = folder / "timm.safetensors"
    save_file({key: fill(key, tuple(shape)) for key, shape in facts(case)["state"].items()}, path)
    return path


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parameters_and_macs(case: Case, record: Record) -> None:
    model = elaborate(lamina.load(SPECS / f"{case.spec}.yaml", variant=case.variant))
    sizes = {"N": 1, "H": 224, "W": 224}
    summary = summarize(model, {name: sizes[name] for name in model.dims})
    assert (summary.parameters, summary.macs) == (facts(case)["parameters"], facts(case)["macs"])
    record(SPECS / f"{case.spec}.yaml", case.variant, "parameters", f"{summary.parameters} as timm, {summary.macs} MACs at 224")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits(case: Case, tmp_path: Path, record: Record) -> None:
    spec = lamina.load(SPECS / f"{case.spec}.yaml", variant=case.variant)
    bundle = lamina.compile(spec, tmp_path / "bundle", weights=checkpoint(case, tmp_path))
    session = lamina.Session(bundle)
    stored = np.load(HERE / "expected" / f"{case.timm}.npz")
    worst = 0.0
    for shape in stored:
        n, c, h, w = map(int, shape.split("x"))
        logits = session(image=image((n, c, h, w)))["logits"]
        error = np.abs(logits - stored[shape]).max() / np.abs(stored[shape]).max()
        assert error <= TOLERANCE, f"{case} at {shape}: {error:.2g}"
        worst = max(worst, float(error))
    record(SPECS / f"{case.spec}.yaml", case.variant, "parity", f"{worst:.0e} of timm {facts(case)['timm']}'s logits")
