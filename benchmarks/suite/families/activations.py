"""Learnt activations: rational functions and splines."""

from __future__ import annotations

from benchmarks.suite.model import Model

MODELS = (
    Model("vision/kat", "tiny"),
    Model("layer/s_kan", "full"),
)
