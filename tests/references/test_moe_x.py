"""MoE-X against its formulas in PyTorch, as one wide masked network in GPT-2 of transformers; and what its scores promise of experts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import filled, in_training, parity, session, tokens
from evidence import Record
from torch import nn

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "language" / "moe_x.yaml"


class Wide(nn.Module):
    """Every expert's hidden units side by side, times the weight of their expert, which is 0 where it was not chosen."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        dim, hidden, self.chosen = config["dim"], config["hidden"], config["chosen"]
        sizes = {"fc1": (dim, hidden), "fc2": (hidden, dim)}
        parts = [nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()}) for _ in range(config["experts"])]
        self.experts = nn.ModuleList(parts)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Equations of the paper's routing by sparsity: what weights of a normal law with the columns' statistics make of x."""
        encoders = torch.stack([expert["fc1"].weight for expert in self.experts])
        mean, deviation = x @ encoders.mean(1).T, (x**2 @ encoders.var(1, correction=0).T).sqrt()
        return -torch.erf(mean / (math.sqrt(2) * deviation))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        best, choice = self.scores(x).topk(self.chosen, dim=-1)
        gates = torch.zeros(*x.shape[:-1], len(self.experts)).scatter(-1, choice, best.softmax(-1))
        encoder = torch.cat([expert["fc1"].weight for expert in self.experts])
        decoder = torch.cat([expert["fc2"].weight for expert in self.experts], dim=1)
        made: torch.Tensor = (gates.repeat_interleave(len(encoder) // len(self.experts), -1) * (x @ encoder.T).relu()) @ decoder.T
        return made


def reference(config: Mapping[str, Any]) -> Any:
    made = transformers.GPT2Config(
        vocab_size=config["vocabulary"], n_embd=config["dim"], n_layer=config["layers"], n_head=config["heads"],
        n_positions=config["context"], layer_norm_epsilon=config["eps"], attn_implementation="eager",
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(made)
    for block in model.transformer.h:
        block.mlp = Wide(config)
    return filled(model)


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    found = parity(SPEC, variant, reference, tmp_path)
    record(SPEC, variant, "parity", found.replace(" of transformers", " of its formulas in transformers"))


def test_scores(tmp_path: Path) -> None:
    """Those of every layer, and gradients that reach the encoders of experts that no token chose."""
    spec = lamina.load(SPEC, small=True, every=True, routes=True)
    model = reference(elaborate(spec).config)
    want: list[torch.Tensor] = []
    for block in model.transformer.h:
        block.mlp.register_forward_hook(lambda module, given, _: want.append(module.scores(given[0])))
    ids = tokens(2, 9, 96)
    got = session(model, spec, tmp_path)(input_ids=ids, attention_mask=np.ones_like(ids))["scores"]
    model(torch.from_numpy(ids))
    np.testing.assert_allclose(got, torch.stack(want).detach().numpy(), atol=2e-6)
    module, found = in_training(spec, torch.from_numpy(ids), tmp_path / "checkpoint")
    found["balance"].backward()
    assert all(module.get_parameter(f"h.1.mlp.experts.{n}.fc1.weight").grad.abs().sum() > 0 for n in range(4))


def test_an_expert_with_a_higher_score_is_less_excited() -> None:
    """The score is 1 - 2 * the share of units that are on, to what as many draws of a normal law allow."""
    wide = Wide({"dim": 32, "hidden": 4000, "experts": 8, "chosen": 2})
    torch.manual_seed(0)
    for number, expert in enumerate(wide.experts):
        nn.init.normal_(expert["fc1"].weight, mean=0.02 * (number - 4), std=0.1 + 0.02 * number)
    x = torch.randn(20, 32)
    on = torch.stack([(expert["fc1"](x) > 0).float().mean(-1) for expert in wide.experts], dim=-1)
    torch.testing.assert_close(wide.scores(x), 1 - 2 * on, rtol=0, atol=0.05)
    assert torch.corrcoef(torch.stack([wide.scores(x).flatten(), on.flatten()]))[0, 1] < -0.95
