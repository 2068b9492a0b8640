"""Duo-LLM against transformers' Llama whose networks are the sum of the two, each where a token's route goes through it."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import tokens
from evidence import Record
from fill import Array, fill
from safetensors.numpy import save_file
from torch import nn
from transformers.models.llama.modeling_llama import LlamaMLP

import lamina

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs" / "language" / "duo_llm.yaml"
LAYERS, BIG, SMALL = 2, 0, 1
IDS = tokens(3, 9, 96)
MASK = np.ones_like(IDS)


class Duo(nn.Module):
    """r_big * FFN_big(x) + r_small * FFN_small(x), with r one-hot by the routes [N, T], or by the router."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        sized = {"big": config.intermediate_size, "small": 16}
        for name, size in sized.items():
            other = transformers.LlamaConfig(**{**config.to_dict(), "intermediate_size": size})
            self.add_module(name, nn.ModuleList([LlamaMLP(other)]))
        self.router = nn.Linear(config.hidden_size, 3, bias=False)
        self.route: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        route = self.router(x).argmax(-1) if self.route is None else self.route
        self.taken = route
        parts = [(route == number)[..., None] * module[0](x) for number, module in ((BIG, self.big), (SMALL, self.small))]
        return parts[0] + parts[1]


@pytest.fixture(scope="module")
def reference() -> Any:
    options = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 48}
    rope = {"rope_type": "default", "rope_theta": 1e4}
    config = transformers.LlamaConfig(**options, rms_norm_eps=1e-5, rope_parameters=rope, attn_implementation="eager")
    model = transformers.LlamaForCausalLM(config).eval()
    for layer in model.model.layers:
        layer.mlp = Duo(config)
    model.load_state_dict({key: torch.from_numpy(fill(key, tuple(v.shape))) for key, v in model.state_dict().items()})
    return model


def session(reference: Any, variant: str, folder: Path, **config: Any) -> lamina.Session:
    save_file({k.removeprefix("model."): v.numpy() for k, v in reference.state_dict().items()}, folder / "weights.safetensors")
    spec = lamina.load(SPEC, variant, small=True, every=True, **config).model_copy(update={"tokenizer": None})
    return lamina.Session(lamina.compile(spec, folder / variant, weights=folder / "weights.safetensors"))


def logits(reference: Any, routes: Array | None) -> tuple[Array, Array]:
    """By the routes [N, layers, T] or the routers; and what they were."""
    for i, layer in enumerate(reference.model.layers):
        layer.mlp.route = None if routes is None else torch.from_numpy(routes[:, i])
    with torch.no_grad():
        found = reference(torch.from_numpy(IDS)).logits.numpy()
    return found, np.stack([layer.mlp.taken.numpy() for layer in reference.model.layers], axis=1)


def error(got: Array, want: Array) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


def test_routers_send_each_token_its_way(reference: Any, tmp_path: Path, record: Record) -> None:
    want, taken = logits(reference, None)
    assert set(taken.ravel()) == {0, 1, 2}
    ours = session(reference, "learned", tmp_path)
    whole, stream = ours(input_ids=IDS, attention_mask=MASK)["logits"], ours.stream()
    cuts = itertools.pairwise([0, 1, 2, 6, 9])
    pieces = np.concatenate([stream(input_ids=IDS[:, a:b], attention_mask=MASK[:, :b])["logits"] for a, b in cuts], axis=1)
    worst = max(error(whole, want), error(pieces, want))
    assert worst < 1e-5
    record(SPEC, "learned", "parity", f"{worst:.0e} of the masked sum in transformers' Llama, small")


def test_given_routes(reference: Any, tmp_path: Path, record: Record) -> None:
    routes = np.random.default_rng(0).integers(0, 3, (3, LAYERS, 9))
    worst = error(
        session(reference, "given", tmp_path)(input_ids=IDS, attention_mask=MASK, route=routes)["logits"], logits(reference, routes)[0]
    )
    assert worst < 1e-5
    record(SPEC, "given", "parity", f"{worst:.0e} of the masked sum in transformers' Llama, small")


@pytest.mark.parametrize("pattern", list(itertools.product([0, 1, 2], repeat=LAYERS)))
def test_a_fixed_route_is_a_smaller_network(pattern: tuple[int, ...], reference: Any, tmp_path: Path, record: Record) -> None:
    routes = np.broadcast_to(np.array(pattern)[None, :, None], (3, LAYERS, 9)).copy()
    ours = session(reference, "one_big", tmp_path, pattern=list(pattern))
    worst = error(ours(input_ids=IDS, attention_mask=MASK)["logits"], logits(reference, routes)[0])
    assert worst < 1e-5
    sizes = {0: 3 * 32 * 48 + 32, 1: 3 * 32 * 16 + 32, 2: 0}
    assert ours.manifest.parameters == 2 * 96 * 32 + 32 + LAYERS * (4 * 32 * 32 + 32) + sum(sizes[step] for step in pattern)
    if pattern == (1, 0):
        record(SPEC, "one_big", "parity", f"{worst:.0e} of the masked sum in transformers' Llama, small")


def test_an_oracle_finds_the_best_route(reference: Any, tmp_path: Path) -> None:
    """Of all nine, tried one at a time in PyTorch."""
    oracle = runpy.run_path(str(ROOT / "docs" / "examples" / "oracle_routes.py"))["oracle"]
    best: dict[int, tuple[float, tuple[int, ...]]] = {}
    for pattern in itertools.product([0, 1, 2], repeat=LAYERS):
        routes = np.zeros((3, LAYERS, 9), np.int64)
        routes[0, :, -2] = pattern
        found = torch.from_numpy(logits(reference, routes)[0][0, -2]).log_softmax(-1)[IDS[0, -1]]
        best[pattern.count(BIG)] = min(best.get(pattern.count(BIG), (np.inf, ())), (-float(found), pattern))
    got = {count: (loss, route) for count, loss, route in oracle(session(reference, "given", tmp_path), IDS[0].tolist())}
    assert {count: route for count, (_, route) in got.items()} == {count: route for count, (_, route) in best.items()}
    np.testing.assert_allclose([got[count][0] for count in range(3)], [best[count][0] for count in range(3)], rtol=1e-4)


def test_routers_learn() -> None:
    module = lamina.to_torch(lamina.load(SPEC, small=True)).train()
    given = {"input_ids": IDS, "attention_mask": MASK}
    states = {name: torch.zeros(3, 4, 0, 8) for name in module.input_names if name.startswith("past.")}
    found = module(**{name: torch.from_numpy(array) for name, array in given.items()}, **states)
    found["logits"].square().sum().backward()
    routers = [weight for name, weight in module.named_parameters() if name.endswith("router.weight")]
    assert len(routers) == LAYERS
    assert all(router.grad is not None and bool(router.grad.abs().sum() > 0) for router in routers)
