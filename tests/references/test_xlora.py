"""X-LoRA: an adapter that has the whole share is a plain one, and the first pass is of the base alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapting import Config, State, error, linears, low_rank
from fill import fill

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "xlora.yaml"


def alone(model: Any, config: Config) -> State:
    """Add the products of the only adapter to the weights, as much of them as `whole` says."""
    adapter: dict[str, Any] = {}
    for at, layer in linears(model, config["adapted"]).items():
        path = at.replace("base_model.model", "base_model.lora_model.model", 1)
        pair = low_rank(layer, config["ranks"][0], path, "lora_{}.0.weight")
        first, second = (torch.from_numpy(value) for value in pair.values())
        layer.weight += config["whole"] * config["alphas"][0] / config["ranks"][0] * second @ first
        adapter |= pair
    at = "base_model.internal_xlora_classifier.layers.0"
    return adapter | {f"{at}.weight": fill(f"{at}.weight", (1, config["dim"])), f"{at}.bias": fill(f"{at}.bias", (1,))}


@pytest.mark.parametrize("whole", [1.0, 0.5])
def test_one_adapter_is_a_plain_one(whole: float, tmp_path: Path) -> None:
    """Its share is 1, in one pass and piece by piece, when each pass has a cache of its own."""
    error(SPEC, "mistral-7b", alone, tmp_path, ranks=[3], whole=whole)
