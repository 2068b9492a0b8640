"""Write what the authors' MomentumSMoE computes. Run by hand, given three checkouts of github.com/rachtsy/MomentumSMoE: its last commit,
48e6393, which had complex momentum, and 4f61704, which had robust momentum:

pip install tqdm && python tests/references/make_momentum_smoe.py --source PATH --complex PATH --robust PATH

Their experts need fastmoe's CUDA kernels: here stands what these compute, with the same weights, around the authors' own gate. The
layers and their momentum are theirs (`models.py`).
"""

from __future__ import annotations

import importlib
import sys
import warnings
from argparse import ArgumentParser
from types import ModuleType
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import Tensor, nn

SPEC, REFERENCE = "language/momentum_smoe", "github.com/rachtsy/MomentumSMoE"
SIZES: dict[str, Any] = {"vocab_size": 60, "hidden_size": 32, "inner_hidden_size": 32, "nb_heads": 4, "nb_layers": 2, "attn_span": 6}
GIVEN: dict[str, Any] = {
    "gate_name": "smoe", "optimal_policy": False, "dropout": 0.0, "moe_top_k": 2, "freq": 0.0, "alpha": 0.0, "act_experts": "shuffle",
    "g_blance": False, "opt_blance": False, "combine_gate": False, "opt_loss": "mse", "gamma2": 1.0, "mu": 0.7, "beta1": 0.9,
    "beta2": 0.999, "adapt_span_params": {"adapt_span_enabled": False},
}  # fmt: skip
SCALES = [Scale("*.htoh4.weight", 0, 0.3), Scale("*.h4toh.weight", 0, 0.3), Scale("*.gate.weight", 0, 0.5)]


class Stacked(nn.Module):
    """As fastmoe's FMoELinear: a linear for each expert."""

    def __init__(self, count: int, given: int, made: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(count, made, given)), nn.Parameter(torch.empty(count, made))

    def forward(self, x: Tensor, expert: int) -> Tensor:
        return nn.functional.linear(x, self.weight[expert], self.bias[expert])


class Experts(nn.Module):
    """As their FMoETransformerMLP."""

    def __init__(self, num_expert: int, d_model: int, d_hidden: int, moe_top_k: int, activation: nn.Module, gate: Any) -> None:
        super().__init__()
        self.gate = gate(d_model, 4, 1, moe_top_k)  # of 16, as they have it; ours are as many when small
        self.experts = nn.ModuleDict({"htoh4": Stacked(4, d_model, d_hidden), "h4toh": Stacked(4, d_hidden, d_model)})
        self.activation = activation
        assert num_expert == 16

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, -2)
        choice, weight = self.gate(flat)
        made = torch.zeros_like(flat)
        for expert in range(4):
            hidden = self.activation(self.experts["htoh4"](flat, expert))
            made = made + self.experts["h4toh"](hidden, expert) * (weight * (choice == expert)).sum(-1, keepdim=True)
        return made.view_as(x)


class Telling(Experts):
    """As that of the commit with robust momentum, which tells the choice, too."""

    def __init__(self, layerth: int, **given: Any) -> None:
        super().__init__(**given)

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), None


class Gate(nn.Module):
    """As fastmoe's BaseGate."""

    def __init__(self, num_expert: int, world_size: int) -> None:
        super().__init__()
        self.tot_expert = num_expert * world_size


def stand_in(name: str, **members: Any) -> None:
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    """From empty caches."""
    ids = inputs["input_ids"]
    empty = [torch.zeros(len(ids), SIZES["attn_span"], SIZES["hidden_size"]) for _ in model.layers]
    return {"logprobs": model(ids, empty)[0]}


def network(source: str, experts: type[Experts]) -> Any:
    """Theirs, of a commit."""
    stand_in("custom_transformer", FMoETransformerMLP=experts, FMoETransformerMLPOpt=experts)
    for name in ("models", "custom_gates", "custom_functions"):
        sys.modules.pop(name, None)
    sys.path.insert(0, source)
    found = importlib.import_module("models").TransformerSeq
    sys.path.remove(source)
    return found


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    for name in ("source", "complex", "robust"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("fmoe", "fmoe.gates"):
        stand_in(name)
    stand_in("fmoe.gates.base_gate", BaseGate=Gate)
    warnings.simplefilter("ignore")  # they compare texts with `is`
    sources = parser.parse_args()
    of = {name: network(getattr(sources, name), Telling if name == "robust" else Experts) for name in ("source", "complex", "robust")}
    layouts = {
        "small_plain": ("sgsg", 1.0), "small": ("smsm", 0.8), "medium_plain": ("sgsg", 1.0), "medium": ("smsm", 1.0),
        "medium_adam": ("sasa", 1.0), "large": ("smsm", 0.8), "glam_medium_plain": ("sgsfsgsf", 0.8), "glam_medium": ("smsfsmsf", 0.8),
        "glam_medium_adam": ("sasfsasf", 0.8), "medium_negative": ("smsm", 1.0), "medium_complex": ("scscsc", 1.0),
        "medium_robust": ("smsm", 1.0),
    }  # fmt: skip
    own: dict[str, tuple[str, dict[str, float]]] = {
        "medium_negative": ("source", {"mu": -0.2}),
        "medium_complex": ("complex", {"beta1": 0.7, "beta2": 0.1, "nb_layers": 3}),  # the imaginary part is felt in the third
        "medium_robust": ("robust", {"mu": 0.2, "gamma": 1.25, "layer_n": 0}),
    }
    for name, (layout, rate) in layouts.items():
        base = "glam" if name.startswith("glam") else "transformer"
        letters = [sys.intern(letter) for letter in layout]
        commit, step = own.get(name, ("source", {}))
        model = of[commit](**{**SIZES, **GIVEN, "architecture": letters, "base_arch": base, "gamma1": rate, **step})
        points = [{"input_ids": Draw(shape, "int64", 0, 60)} for shape in [(1, 1), (2, 11), (3, 5)]]
        unused = [f"layers.{i}.norm{3 if layer.use_smoe else 2}.*" for i, layer in enumerate(model.layers)]
        config = {"every": True, "eps": 1e-8} | ({"layers": 3} if step.get("nb_layers") else {})
        write(
            SPEC, name, model, points, run,
            reference=REFERENCE, variant=name, small=True, config=config, scales=SCALES, unused=unused, inert=unused,
        )  # fmt: skip
