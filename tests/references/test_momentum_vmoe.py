"""Momentum as the paper has it, of experts among the layers of a vision transformer; what evens out their load, as V-MoE's paper has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fill import fill

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "momentum_vmoe.yaml"
IMAGE = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))


def small(**config: Any) -> Any:
    module = lamina.to_torch(lamina.load(SPEC, "s32", small=True, **config)).eval()
    module.load_state_dict({k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape)))) for k, v in module.state_dict().items()})
    return module


def scores(**config: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = small(as_coded=False, depth=2, every=1, **config)(image=IMAGE)
    return found


def test_without_memory_it_is_the_plain_network() -> None:
    plain = scores(step="plain")
    torch.testing.assert_close(scores(mu=0.0), plain)
    assert (scores(mu=0.8) - plain).abs().max() > 0.01


def test_robust_momentum_without_memory_is_a_step_of_its_rate() -> None:
    torch.testing.assert_close(scores(step="robust", mu=0.0, gamma=1.25), scores(mu=0.0, gamma=1.25))


def test_importance_and_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appendix A.2 of arXiv 2106.05974, where all tokens are alike but for the noise."""
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 17, 4)).astype(np.float32))
    module = small(depth=2).train()
    monkeypatch.setattr(torch, "randn_like", lambda x, **_: noise.expand_as(x))
    with torch.no_grad():
        module.get_parameter("layers.1.norm2.weight").zero_()
        found = module(image=IMAGE)["balance"]
    logits = module.get_parameter("layers.1.moe.router.weight") @ module.get_parameter("layers.1.norm2.bias")
    threshold = (logits + noise / 4).topk(2).values[..., -1:]
    chance = 1 - torch.distributions.Normal(0, 1 / 4).cdf(threshold - logits)
    sums = [logits.softmax(-1), chance.mean((0, 1))]
    torch.testing.assert_close(found, 0.005 * sum((s.std(correction=0) / s.mean()).square() for s in sums))
