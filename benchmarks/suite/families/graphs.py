"""Networks on graphs, several of which lie side by side in a batch."""

from __future__ import annotations

from benchmarks.suite.model import Model

MODELS = (
    Model("graph/gated_gcn", "zinc", dims={"E": 50}, batch="V", each=8),
    Model("graph/ppgn_plus_plus", "zinc", dims={"V": 24}),
)
