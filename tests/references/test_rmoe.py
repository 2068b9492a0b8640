"""What RMoE adds to the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from causal_lm import in_training

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "language" / "rmoe.yaml"


def test_where_all_experts_are_chosen_the_choice_is_even() -> None:
    """Then the loss is its factor for each choice, as transformers has it."""
    _, found = in_training(lamina.load(SPEC, small=True, chosen=6, balance_factor=0.5), torch.arange(22).reshape(2, 11))
    assert found["balance"].item() == pytest.approx(6 * 0.5, rel=1e-5)
