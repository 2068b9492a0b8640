"""Neural fields: a batch is 4,096 points, or a frame."""

from __future__ import annotations

from benchmarks.suite.model import Model

MODELS = (
    Model("field/cam", "image", batch="P", each=4096),
    Model("field/pvd", "hash", batch="P", each=4096),
    Model("field/hnerv", "bunny_1500k_decoder", dims={"h": 1, "w": 1}),
)
