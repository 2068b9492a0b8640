"""Mixtures of experts."""

from __future__ import annotations

from benchmarks.suite.model import Model

MODELS = (
    Model("vision/widenet", "base"),
    Model("vision/momentum_vmoe", "s32"),
    Model("series/moirai_moe", "small", dims={"T": 128}),
)
