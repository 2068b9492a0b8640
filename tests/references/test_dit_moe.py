"""DiT-MoE: the authors' sampling loops, what is active of its parameters, and the balance that training asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import EXPECTED, references
from safetensors.numpy import save_file
from test_published import rounded

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count
from lamina.schema.dims import product

SPEC = Path(__file__).parents[2] / "specs" / "generative" / "dit_moe.yaml"
GUIDED: Mapping[str, Any] = {"guidance": 1.5, "guided_channels": 3}  # three of the four channels: so their models have it
LOOPS: Mapping[str, Mapping[str, Any]] = {
    "ddpm": {"method": "ddpm", **GUIDED},
    "ddim": {"method": "ddim", **GUIDED},
    "ddim_eta": {"method": "ddim", "eta": 0.6, **GUIDED},
    "flow": {"method": "flow", "guidance": 2.5},
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> lamina.Session:
    """The small model, with the weights that the authors' had."""
    folder = tmp_path_factory.mktemp("dit_moe")
    case = next(case for case in references() if (case.spec, case.name) == ("generative/dit_moe", "s2-8e2a_small"))
    save_file({key: np.ascontiguousarray(array) for key, array in case.checkpoint().items()}, folder / "reference.safetensors")
    return lamina.Session(lamina.compile(lamina.load(SPEC, small=True), folder / "bundle", weights=folder / "reference.safetensors"))


@pytest.mark.parametrize("name", LOOPS)
def test_the_authors_loops_give_these_latents(name: str, session: lamina.Session) -> None:
    with np.load(EXPECTED / "dit_moe_samples.npz") as stored:
        want = stored[name]
    got = lamina.sample(session, {"label": [7, 3]}, {"label": 10}, seed=5, steps=6, **LOOPS[name])
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize(("variant", "active"), [("s2-8e2a", "71.8M"), ("b2-8e2a", "286M")])
def test_so_many_parameters_are_active(variant: str, active: str) -> None:
    """All but those of six of the eight experts."""
    graph = elaborate(lamina.load(SPEC, variant=variant)).graph
    idle = sum(int(product(p.shape)) for p in graph.parameters() if re.search(r"experts\.[2-7]\.", p.name))
    assert rounded(parameter_count(graph) - idle, active) == active


def test_training_has_the_balance_of_the_experts() -> None:
    """Of routers without weights, which find all experts as likely, it is 1 in each of two blocks; and it tells routers where to go."""
    module = lamina.to_torch(lamina.load(SPEC, small=True)).train()
    gates = [weight for name, weight in module.named_parameters() if name.endswith("gate.weight")]
    inputs = torch.randn(3, 4, 8, 8), torch.tensor([1.0, 20.0, 300.0]), torch.tensor([1, 2, 10])
    module(*inputs)["balance"].backward()
    assert all(gate.grad is not None and bool(gate.grad.abs().sum() > 0) for gate in gates)
    with torch.no_grad():
        for gate in gates:
            gate.zero_()
    torch.testing.assert_close(module(*inputs)["balance"], torch.tensor(2.0))
