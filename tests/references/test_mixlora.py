"""MixLoRA: what the routers are to learn beside the logits, what sharing the network's weights saves, and one expert alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapting import Config, State, empty_states, error, linears, low_rank
from causal_lm import tokens
from fill import fill
from test_llama import SPEC as LLAMA

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "mixlora.yaml"


def alone(model: Any, config: Config) -> State:
    """With one expert all changes are products that may be added to the weights."""
    adapter: dict[str, Any] = {}
    for at, layer in linears(model, ["q", "k", "v", "o", "gate", "up", "down"]).items():
        key = at.replace("base_model.model.model", "mixlora") + (".experts.0" if ".mlp." in at else "")
        pair = low_rank(layer, config["rank"], key)
        first, second = (torch.from_numpy(pair[f"{key}.lora_{part}.weight"]) for part in "AB")
        layer.weight += config["alpha"] / config["rank"] * second @ first
        adapter |= pair
    gates = [f"mixlora.layers.{i}.mlp.moe_gate.weight" for i in range(config["layers"])]
    return adapter | {key: fill(key, (1, config["dim"])) for key in gates}


def test_one_expert_is_a_plain_adapter(tmp_path: Path) -> None:
    error(SPEC, "llama-2-7b", alone, tmp_path, experts=1, k=1)


def test_balance() -> None:
    """As `_mixtral_load_balancing_loss_func` of the authors, which takes all layers' tokens together."""
    spec = lamina.load(SPEC, small=True, dropout=0.0)
    module = lamina.to_torch(spec)
    found: list[torch.Tensor] = []
    names = {f"layers.{i}.mlp.adapter.moe_gate.weight" for i in range(2)}
    gates = [value for name, value in module.named_parameters() if name in names]
    linear = torch.nn.functional.linear

    class Kept(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, kinds: Any, inputs: Any = (), options: Any = None) -> Any:
            made = function(*inputs, **(options or {}))
            if function is linear and any(inputs[1] is gate for gate in gates):
                found.append(made.flatten(0, -2))
            return made

    ids = torch.from_numpy(tokens(2, 9, 96))
    with Kept(), torch.no_grad():
        balance = module(ids, torch.ones_like(ids), *empty_states(spec))["balance"]
    scores = torch.cat(found).softmax(-1)
    hits = torch.nn.functional.one_hot(scores.topk(2).indices, 4).float().mean(0)
    assert balance.item() == pytest.approx(4 * (hits * scores.mean(0)).sum().item(), rel=1e-5)


def macs(path: Path, **config: Any) -> Any:
    return summarize(elaborate(lamina.load(path, "llama-2-7b", layers=1, **config)), {"N": 1, "T": 1, "P": 0}).macs


def test_frozen_layers_that_see_tokens_are_computed_once() -> None:
    """Of the network's three products two are made once, and the third for each of a token's k experts."""
    product, change = 4096 * 11008, 3 * 16 * (4096 + 11008)
    assert macs(SPEC) - macs(SPEC, k=1) == product + change
    assert macs(SPEC, k=1) - macs(LLAMA) == change + 4096 * 8 + 4 * 2 * 16 * 4096  # the router, and what attention adds
