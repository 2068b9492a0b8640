"""EvoNorm in training, against timm (make_evonorm.py), and in half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cases import EXPECTED
from fill import Draw, fill

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.lower import lower
from lamina.compiler.targets.torch import LaminaModule, to_module

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "evonorm.yaml"
VARIANTS = ("b0", "b1", "b2", "s0", "s1", "s2")


def filled(variant: str) -> LaminaModule:
    module = to_module(lower(elaborate(lamina.load(SPEC, variant=variant, small=True)).graph, "torch"))
    state = {key: fill(key.rsplit(".", 1)[-1], tuple(value.shape)) for key, value in module.state_dict().items()}
    module.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()}, assign=True)
    return module


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_of_training(variant: str) -> None:
    module = filled(variant).train()
    image = torch.from_numpy(Draw((2, 64, 3, 4)).array("image")).requires_grad_()
    y = module(image)
    y.square().sum().backward()
    got = {"y": y.detach(), "gradient": image.grad, "running_var": module.state_dict().get("layer.running_var")}
    with np.load(EXPECTED / "layer" / "evonorm" / f"{variant}-training.npz") as want:
        assert set(want) == {"y", "gradient"} | ({"running_var"} if variant.startswith("b") else set())
        for name in want:
            torch.testing.assert_close(got[name], torch.from_numpy(want[name]), rtol=1e-5, atol=1e-5)
