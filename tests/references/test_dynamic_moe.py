"""The figures of Dynamic-MoE for tokens that meet one or two experts in each layer, and what it adds to the loss."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from causal_lm import activated, in_training

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "language" / "dynamic_moe.yaml"


@pytest.mark.parametrize(("met", "published"), [(1, "0.374"), (2, "0.582")])
def test_activated_parameters(met: int, published: str) -> None:
    assert activated(SPEC, "3.5b", published, met=met) == published


@pytest.mark.parametrize(("p", "met"), [(0.1, 1), (0.4, 3), (0.9, 6), (1.0, 6)])
def test_loss_where_all_experts_are_as_probable(p: float, met: int) -> None:
    """Each of `met` experts gets every token, with 1 / 6: 6 * met / 6, and an entropy of log 6."""
    spec = lamina.load(SPEC, small=True, p=p, balance_factor=0.5, entropy_factor=2.0)
    module, ids = lamina.to_torch(spec), torch.arange(22).reshape(2, 11)
    for name, weight in module.named_parameters():
        if name.endswith("router.weight"):
            torch.nn.init.zeros_(weight)
    found = in_training(spec, ids, module=module)[1]
    torch.testing.assert_close(found["loss"].item(), 0.5 * met + 2 * math.log(6), rtol=1e-5, atol=0)
    assert found["experts_met"].tolist() == [met] * 3
