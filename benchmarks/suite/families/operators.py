"""Neural operators."""

from __future__ import annotations

from benchmarks.suite.model import Model

MODELS = (
    Model("operator/sfno", "fnodata", dims={"X": 64, "Y": 64, "T": 10}),
    Model("operator/mgno", "darcy", dims={"H": 128, "W": 128}),
    Model("operator/t1_2d", "navier_stokes", dims={"X": 64, "Y": 64}),
)
