"""Recurrences over the steps of a sequence."""

from __future__ import annotations

from benchmarks.suite.model import Model

MODELS = (
    Model("sequence/lmuformer", "speech_commands_recurrent", dims={"T": 128}),
    Model("sequence/pointer_network", "teach", dims={"T": 50, "K": 50}),
    Model("vision/hydra_vit", "base"),
)
