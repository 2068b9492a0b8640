"""ScaLearn: what is learnt for a transfer, one task alone, and all adapters as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fill import fill

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "scalearn.yaml"
IDS = torch.from_numpy(np.random.default_rng(0).integers(1, 50, (2, 7)))
LAYER = "layers.{}.encoder.norm2.adapter.{}"
Tensors = dict[str, torch.Tensor]


def ours(variant: str, **config: Any) -> tuple[Any, Tensors]:
    module = lamina.to_torch(lamina.load(SPEC, variant=variant, small=True, **config)).eval()
    return module, {k: torch.from_numpy(np.array(fill(k, tuple(v.shape)))) for k, v in module.state_dict().items()}


def logits(module: Any, state: Tensors) -> torch.Tensor:
    module.load_state_dict(state)
    with torch.no_grad():
        found: torch.Tensor = module(IDS, torch.ones_like(IDS))
    return found


@pytest.mark.parametrize(
    ("variant", "learnt"), [("scalearn", 8 * 768 * 12), ("uniform", 8 * 12), ("plusplus", 8 * 768), ("uniform-plusplus", 8)]
)
def test_a_transfer_learns_as_few_numbers_as_published(variant: str, learnt: int) -> None:
    """8 in the abstract; and of AdapterFusion's queries, keys and values in each layer 0.35 percent."""
    parameters = elaborate(lamina.load(SPEC, variant=variant)).graph.parameters()
    assert sum(int(np.prod(p.shape)) for p in parameters if p.name.endswith("omega")) == learnt
    if variant == "scalearn":
        assert round(100 * learnt / (12 * (3 * 768**2 + 2 * 768)), 2) == 0.35


def test_scales_start_at_twice_the_mean() -> None:
    module = lamina.to_torch(lamina.load(SPEC, variant="plusplus", small=True))
    torch.testing.assert_close(module.get_parameter("adapter.shared.omega"), torch.full((3, 24), 2 / 3))


@pytest.mark.parametrize("variant", ["scalearn", "uniform"])
def test_one_task_alone_is_its_adapter(variant: str) -> None:
    module, state = ours(variant)
    one, alone = ours(variant, tasks=1)
    for key in state:
        if key.endswith("omega"):
            state[key] = torch.zeros_like(state[key])
            state[key][1] = 1
    alone |= {key: state[key.replace(".tasks.0.", ".tasks.1.")] for key in alone if not key.endswith("omega")}
    alone |= {key: torch.ones_like(value) for key, value in alone.items() if key.endswith("omega")}
    torch.testing.assert_close(logits(module, state), logits(one, alone))


def test_all_adapters_are_one_as_wide_as_all_with_the_scales_in_its_second_matrix() -> None:
    module, state = ours("scalearn")
    wide, folded = ours("scalearn", tasks=1, bottleneck=15)
    for i in range(2):
        omega, parts = state[LAYER.format(i, "own.omega")], [LAYER.format(i, f"tasks.{t}.") for t in range(3)]
        folded[LAYER.format(i, "own.omega")] = torch.ones(1, 24)
        folded[LAYER.format(i, "tasks.0.down.weight")] = torch.cat([state[p + "down.weight"] for p in parts])
        folded[LAYER.format(i, "tasks.0.down.bias")] = torch.cat([state[p + "down.bias"] for p in parts])
        folded[LAYER.format(i, "tasks.0.up.weight")] = torch.cat(
            [w[:, None] * state[p + "up.weight"] for w, p in zip(omega, parts, strict=True)], 1
        )
        folded[LAYER.format(i, "tasks.0.up.bias")] = sum(w * state[p + "up.bias"] for w, p in zip(omega, parts, strict=True))
    folded |= {key: state[key] for key in folded if ".norm2.adapter." not in key}
    torch.testing.assert_close(logits(module, state), logits(wide, folded))
