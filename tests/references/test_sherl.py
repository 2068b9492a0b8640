"""SHERL where it starts, where its side path gives nothing, and of layers that are all alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from fill import fill

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "sherl.yaml"
BASE = SPEC.parents[1] / "embedding" / "minilm.yaml"
IDS = torch.from_numpy(np.random.default_rng(0).integers(1, 50, (2, 7)))
Tensors = dict[str, torch.Tensor]


def made(path: Path, **config: Any) -> tuple[Any, Tensors]:
    module = lamina.to_torch(lamina.load(path, small=True, **config)).eval()
    return module, {k: torch.from_numpy(np.array(fill(k, tuple(v.shape)))) for k, v in module.state_dict().items()}


def run(module: Any, state: Tensors) -> Any:
    module.load_state_dict(state)
    with torch.no_grad():
        return module(IDS, torch.ones_like(IDS))


def test_an_open_gate_and_an_empty_side_path_leave_the_base() -> None:
    module, state = made(SPEC, pooled=True)
    state["adapter.side.gate"] = torch.tensor([9.0])
    state |= {f"adapter.side.up_norm.{part}": torch.zeros(24) for part in ("weight", "bias")}
    base, _ = made(BASE, depth=3)
    found = run(module, state)
    torch.testing.assert_close(found["embedding"], run(base, {k: v for k, v in state.items() if "adapter" not in k}))
    assert found["features"].shape == (2, 7, 24)


def test_it_starts_with_what_the_side_path_gives_alone() -> None:
    """The gate is shut: an offset that every channel of the last early layer gets, and its norm takes out below, changes nothing."""
    module, state = made(SPEC)
    assert lamina.to_torch(lamina.load(SPEC, small=True)).get_parameter("adapter.side.gate").item() == 0
    state["adapter.side.gate"] = torch.zeros(1)
    state["adapter.side.down.2.weight"] -= state["adapter.side.down.2.weight"].mean(1, keepdim=True)
    before = run(module, state)
    after = run(module, state | {"layers.1.encoder.norm2.bias": state["layers.1.encoder.norm2.bias"] + 3})
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def plane(*points: tuple[float, float]) -> list[torch.Tensor]:
    return [torch.tensor([*point, *[0.0] * 8]) for point in points]


def test_what_is_redundant_counts_for_less() -> None:
    """Of two that are equal and a third at right angles each has a quarter, and that one a half; three at 120 degrees make nothing."""
    module, state = made(SPEC, depth=4)
    state |= {"adapter.side.attention.weight": torch.zeros(1, 10), "adapter.side.attention.bias": torch.ones(1)}

    def of(features: list[torch.Tensor]) -> Any:
        """With early layers that have these features, whatever is read."""
        own = {f"adapter.side.down_norm.{i}.bias": feature for i, feature in enumerate(features)}
        none = {k: torch.zeros_like(v) for k, v in state.items() if ".down." in k or ".down_norm." in k}
        return run(module, state | none | own | {"adapter.side.gate": torch.zeros(1)})

    half = 3**0.5 / 2
    redundant = of(plane((2, 0), (2, 0), (0, 5), (0, 0)))
    torch.testing.assert_close(redundant, of(plane((1, 0), (-0.5, half), (-0.5, -half), (1, 2.5))))
    assert (redundant - of(plane((1, 0), (-0.5, half), (-0.5, -half), (4 / 3, 5 / 3)))).abs().max() > 0.1
