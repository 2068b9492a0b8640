"""Momentum as the paper has it: without memory it is the plain network, and what a layer made goes on in the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from fill import fill

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "language" / "momentum_smoe.yaml"
IDS = torch.from_numpy(np.random.default_rng(0).integers(0, 60, (2, 9)))


def scores(module: Any, silent: str = "none", factor: float = 1.0) -> torch.Tensor:
    """With weights that follow from their names; those of experts' last layers are scaled, those whose names hold `silent` are 0."""
    state = {k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape)))) for k, v in module.state_dict().items()}
    state |= {k: factor * v for k, v in state.items() if ".fc2." in k} | {k: torch.zeros_like(v) for k, v in state.items() if silent in k}
    module.load_state_dict(state)
    empty = {name: torch.zeros(2, 6, 32) for name in module.input_names if name.startswith("past.")}
    with torch.no_grad():
        found: torch.Tensor = module(input_ids=IDS, **empty)["logprobs"]
    return found


def small(variant: str = "small", **config: Any) -> Any:
    return lamina.to_torch(lamina.load(SPEC, variant, small=True, every=True, as_coded=False, **config)).eval()


def test_without_memory_it_is_the_plain_network() -> None:
    plain = scores(small(step="plain"))
    torch.testing.assert_close(scores(small(mu=0.0)), plain)
    assert (scores(small(mu=0.7)) - plain).abs().max() > 0.05


def test_the_first_layer_has_no_momentum_yet() -> None:
    torch.testing.assert_close(scores(small(layers=1)), scores(small(layers=1, step="plain")))


def test_what_a_layer_made_goes_on_in_the_next() -> None:
    """Even where the experts of the next are silent."""
    silent = "layers.1.smoe.experts"
    plain = scores(small(step="plain"), silent)
    torch.testing.assert_close(scores(small(mu=0.0), silent), plain)
    assert (scores(small(mu=0.5), silent) - plain).abs().max() > 0.05


def test_adam_steps_have_one_size() -> None:
    """Of one output, p / sqrt(v) is its sign times a constant."""
    module = small("medium_adam", layers=1, eps=1e-8)
    torch.testing.assert_close(scores(module, factor=1e3), scores(module, factor=1e4), atol=1e-3, rtol=0)


def test_robust_momentum_without_memory_is_a_step_of_its_rate() -> None:
    torch.testing.assert_close(scores(small(step="robust", mu=0.0, gamma=1.25)), scores(small(mu=0.0, gamma=1.25)))
