"""MoLA beside its formula over every expert, masked, in a Llama of transformers'; and what its routers are to learn beside the logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapting import Config, State, empty_states, linears, replaced, saved
from causal_lm import tokens
from fill import fill
from test_llama import reference
from torch import Tensor, nn

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.schema.diagnostics import SpecError

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "mola.yaml"


class Routed(nn.Module):
    """W x + sum_e g_e(x) scale B_e A_e x, where g is the softmax of the router's k largest logits and 0 elsewhere."""

    def __init__(self, base: nn.Linear, at: str, count: int, config: Config) -> None:
        super().__init__()
        self.base, self.k, self.scale = base, config["k"], config["alpha"] / config["rank"]
        sizes = {"A": (config["rank"], base.in_features), "B": (base.out_features, config["rank"])}
        self.state = {f"{at}.lora_{m}_{e}.weight": fill(f"{at}.{m}{e}", sizes[m]) for m in "AB" for e in range(count)}
        self.first, self.second = (
            torch.stack([torch.from_numpy(self.state[f"{at}.lora_{m}_{e}.weight"]) for e in range(count)]) for m in "AB"
        )
        self.state[f"{at}.router.router.weight"] = router = fill(f"{at}.router", (count, base.in_features))
        self.router, self.logits = torch.from_numpy(router), torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        self.logits = x @ self.router.T
        lowest = self.logits.topk(self.k).values[..., -1:]
        gates = self.logits.masked_fill(self.logits < lowest, float("-inf")).softmax(-1)
        made = torch.einsum("...d,erd,eor->...eo", x, self.first, self.second)
        mixed: Tensor = self.base(x) + self.scale * (gates[..., None] * made).sum(-2)
        return mixed


def routed(model: Any, config: Config) -> State:
    layers = {
        at: Routed(base, at, config["experts"][int(at.split(".")[4])], config) for at, base in linears(model, config["adapted"]).items()
    }
    replaced(model, layers)
    return {key: value for layer in layers.values() for key, value in layer.state.items()}


def test_every_expert_masked_and_the_balance(tmp_path: Path) -> None:
    """The balance is of each layer over the logits of all its routers together, as `load_balancing_loss_func` of the authors."""
    spec = lamina.load(SPEC, small=True, every=True, dropout=0.0)
    config = elaborate(spec).config
    model = reference(config)
    files = saved(reference(config), routed(model, config), tmp_path)
    ids = torch.from_numpy(tokens(2, 9, 96))
    found = lamina.to_torch(spec, weights=files)(ids, torch.ones_like(ids), *empty_states(spec))
    with torch.no_grad():
        torch.testing.assert_close(found["logits"], model(ids).logits, atol=1e-4, rtol=1e-4)
    wanted = 0.0
    for i, count in enumerate(config["experts"]):
        logits = torch.cat(
            [m.logits.flatten(0, -2) for name, m in model.named_modules() if isinstance(m, Routed) and f"layers.{i}." in name]
        )
        loads = torch.bincount(logits.topk(2).indices.flatten(), minlength=count)
        wanted += count * float((loads / loads.sum() * logits.softmax(-1).mean(0)).sum())
    assert found["balance"].item() == pytest.approx(wanted, rel=1e-5)


def test_a_list_that_is_too_short_is_refused() -> None:
    with pytest.raises(SpecError, match="index"):
        elaborate(lamina.load(SPEC, small=True, experts=[2]))
