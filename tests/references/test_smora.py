"""SMoRA beside what it holds as special cases: LoRA, and adapters that are chosen whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from adapted_lm import IDS, Tensors, adapted, logits, ours, outputs

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, VARIANT = Path(__file__).parents[2] / "specs" / "adapter" / "smora.yaml", "llama-2-7b"


def without(state: Tensors, *names: str) -> Tensors:
    return state | {k: torch.zeros_like(v) for k, v in state.items() if k.endswith(tuple(f"rank_experts.{name}" for name in names))}


def test_all_ranks_with_even_gates_are_lora() -> None:
    module, state, config = ours(SPEC, VARIANT, active=6)
    state = without(state, "router.weight", "bias")

    def lora(x: torch.Tensor, own: Tensors) -> torch.Tensor:
        return config["alpha"] / config["rank"] * x @ own["rank_experts.a.weight"].T @ own["rank_experts.b.weight"].T

    torch.testing.assert_close(logits(module, state, config), adapted(state, config, lora), atol=1e-4, rtol=1e-4)


def test_ranks_in_blocks_are_adapters_that_are_chosen_whole() -> None:
    """Three of rank 4, of which a token has the best two."""
    module, state, config = ours(SPEC, VARIANT, rank=12, active=8, partition=4)
    state = without(state, "bias")

    def mixture(x: torch.Tensor, own: Tensors) -> torch.Tensor:
        a, b, router = (own[f"rank_experts.{name}.weight"] for name in ("a", "b", "router"))
        gates, best = (x @ router.T).sigmoid().topk(2)
        parts = torch.stack([x @ p.T @ q.T for p, q in zip(a.split(4), b.split(4, dim=1), strict=True)], -2)
        shares = gates / gates.sum(-1, keepdim=True)
        return config["alpha"] / 4 * (shares[..., None] * parts.take_along_dim(best[..., None], -2)).sum(-2)

    torch.testing.assert_close(logits(module, state, config), adapted(state, config, mixture), atol=1e-4, rtol=1e-4)


def test_training_has_the_loads_that_biases_follow() -> None:
    """A bias that is large is always chosen; every token has as many ranks as are active."""
    module, state, config = ours(SPEC, VARIANT)
    state |= {k: 9 * torch.eye(6)[0] for k in state if k.endswith("rank_experts.bias")}
    module.load_state_dict(state)
    loads = outputs(module.train(), config)["loads"]
    assert loads.shape == (7 * config["layers"], 6)
    assert (loads[:, 0] == IDS.numel()).all()
    assert (loads.sum(1) == 2 * IDS.numel()).all()
    assert not any(name.endswith("rank_experts.bias") for name, _ in module.named_parameters())


def test_a_router_costs_as_much_as_the_ranks_read() -> None:
    """Trained beside each matrix [out, in]: rank * (in + out), and rank * in for the router."""
    found = elaborate(lamina.load(SPEC, variant=VARIANT, layers="2"))
    own = sum(int(np.prod(p.shape)) for p in found.graph.parameters() if ".adapter." in p.name and p.trainable)
    widths = [(4096, 4096)] * 4 + [(4096, 11008)] * 2 + [(11008, 4096)]
    assert own == 2 * 64 * sum(2 * into + out for into, out in widths)
