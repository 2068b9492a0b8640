"""DeepSeekMoE's figures that `published:` has no place for, and what it adds to the loss."""

from __future__ import annotations

from pathlib import Path

import gguf_decoders
import numpy as np
import pytest
import torch
from cases import references
from causal_lm import activated, in_training
from safetensors.torch import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize

SPEC = Path(__file__).parents[2] / "specs" / "language" / "deepseek_moe.yaml"


@pytest.mark.parametrize(
    ("variant", "published"),
    [("2b", "0.3"), pytest.param("16b", "2.8", marks=pytest.mark.sweep), pytest.param("145b", "22.2", marks=pytest.mark.sweep)],
)
def test_activated_parameters(variant: str, published: str) -> None:
    assert activated(SPEC, variant, published) == published


def test_gguf(tmp_path: Path) -> None:
    """Experts stacked, and queries and keys in pairs: the weights that the numbered ones give."""
    case = next(case for case in references() if str(case) == "deepseek_moe-16b")
    spec = lamina.load(SPEC, small=True)
    state = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in case.checkpoint().items()}
    save_file(state, tmp_path / "numbered.safetensors")
    first = [key for key in state if ".experts.0." in key]
    stacks = {
        key.replace("experts.0", "experts"): torch.stack([state[key.replace("experts.0", f"experts.{n}")] for n in range(8)])
        for key in first
    }
    alone = {key: tensor for key, tensor in state.items() if ".experts." not in key}
    gguf_decoders.write(tmp_path / "m.gguf", "deepseek", {**alone, **stacks}, elaborate(spec).config)
    want, got = (lamina.to_torch(spec, weights=tmp_path / name).state_dict() for name in ("numbered.safetensors", "m.gguf"))
    assert got.keys() == want.keys()
    assert all(torch.equal(got[key], want[key]) for key in want)


def test_work_of_a_step_of_training() -> None:
    """4.3T operations for 2048 tokens: forward, and twice as much backward, two for each multiply-add."""
    model = elaborate(lamina.load(SPEC, variant="2b", every=True))
    macs = summarize(model, {"N": 1, "P": 0, "T": 2048}).macs
    assert macs is not None
    assert round(6 * macs / 1e12, 1) == 4.3


@pytest.mark.parametrize("config", [{}, {"dense": 0, "expert_factor": 0.5}, {"device_factor": 2.0, "devices": 4}])
def test_where_all_experts_are_chosen_the_choice_is_even(config: dict[str, float]) -> None:
    """Then each loss is its factor, of each layer with experts; `test_routing.py` has the formula for other choices."""
    spec = lamina.load(SPEC, small=True, chosen=8, **config)
    _, found = in_training(spec, torch.arange(22).reshape(2, 11))
    c = elaborate(spec).config
    assert found["balance"].item() == pytest.approx((2 - c["dense"]) * (c["expert_factor"] + c["device_factor"]), rel=1e-5)
