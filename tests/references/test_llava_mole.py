"""LLaVA-MoLE over transformers' LLaVA-1.5: changes by the paper's formulas, one set alone, new ones, and what the routers learn from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from adapting import Config, State, empty_states, linears, low_rank, saved
from causal_lm import tokens
from evidence import Record
from fill import fill
from llava import prompt, reference
from test_llava import NO_IMAGE, error, theirs
from torch import nn

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.schema.spec import ModelSpec

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "llava_mole.yaml"
BASE = SPEC.parents[1] / "multimodal" / "llava.yaml"
NETWORK = ("gate", "up", "down")


def small(**config: Any) -> ModelSpec:
    return lamina.load(SPEC, "7b", small=True, every=True, **config).model_copy(update={"tokenizer": None})


class Routed(nn.Module):
    """A network to whose linear layers each token has the likeliest expert's product added."""

    def __init__(self, mlp: Any, config: Config, at: str, adapter: dict[str, Any]) -> None:
        super().__init__()
        self.mlp, self.at, self.adapter = mlp, at, {key: torch.from_numpy(value) for key, value in adapter.items()}
        self.experts, self.scale = config["experts"], config["alpha"] / config["rank"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = x @ self.adapter[f"{self.at}.router.weight"].T + self.adapter[f"{self.at}.router.bias"]
        chosen = nn.functional.one_hot(logits.argmax(-1), self.experts)[..., None]
        return self.part("down", nn.functional.silu(self.part("gate", x, chosen)) * self.part("up", x, chosen), chosen)

    def part(self, name: str, x: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        pairs = [[self.adapter[f"{self.at}.moe_{name}.{e}.lora_{part}"] for part in "AB"] for e in range(self.experts)]
        added = torch.stack([x @ a.T @ b.T for a, b in pairs], dim=-2)
        y: torch.Tensor = getattr(self.mlp, f"{name}_proj")(x) + self.scale * (chosen * added).sum(-2)
        return y


def adapter_of(decoder: Any, config: Config) -> State:
    """The checkpoint of the changes, whose part of attention is added to the decoder's weights."""
    adapter: dict[str, Any] = {}
    held = SimpleNamespace(model=decoder)
    for at, layer in linears(held, "qkvo").items():
        pair = low_rank(layer, config["rank"], f"llm_model.{at}", "lora_{}.default.weight")
        first, second = (torch.from_numpy(value) for value in pair.values())
        layer.weight += config["alpha"] / config["rank"] * second @ first
        adapter |= pair
    for at, layer in linears(held, NETWORK).items():
        for e in range(config["experts"]):
            adapter |= low_rank(layer, config["rank"], expert(at, e), "lora_{}")
    for i in range(config["layers"]):
        at = router(i)
        adapter |= {f"{at}.weight": fill(at, (config["experts"], config["dim"])), f"{at}.bias": fill(at, (config["experts"],))}
    return adapter


def expert(at: str, number: int) -> str:
    """The key of an expert of the layer at PEFT's path."""
    inside, _, name = at.rpartition(".")
    return f"llm_model.{inside}.moe_{name.removesuffix('_proj')}.{number}"


def router(i: int) -> str:
    return f"llm_model.base_model.model.model.layers.{i}.mlp.router"


def test_the_likeliest_experts_products_are_added(tmp_path: Path, record: Record) -> None:
    spec = small()
    config = elaborate(spec).config
    model = reference(config)
    decoder = model.model.language_model
    with torch.no_grad():
        adapter = adapter_of(decoder, config)
    for i, layer in enumerate(decoder.layers):
        layer.mlp = Routed(layer.mlp, config, router(i).removesuffix(".router"), dict(adapter))
    worst = compared(spec, model, adapter, tmp_path)
    record(SPEC, "7b", "parity", f"{worst:.0e} of the paper's formulas in transformers' LLaVA-1.5, small")


def test_one_expert_is_a_plain_adapter(tmp_path: Path) -> None:
    spec = small(experts=1)
    config = elaborate(spec).config
    model = reference(config)
    decoder = model.model.language_model
    with torch.no_grad():
        adapter = adapter_of(decoder, config)
        for at, layer in linears(SimpleNamespace(model=decoder), NETWORK).items():
            first, second = (torch.from_numpy(adapter[f"{expert(at, 0)}.lora_{part}"]) for part in "AB")
            layer.weight += config["alpha"] / config["rank"] * second @ first
    compared(spec, model, adapter, tmp_path)


def compared(spec: ModelSpec, model: Any, adapter: State, folder: Path) -> float:
    """How far ours, of transformers' LLaVA as it was and the adapter, is from the model."""
    config = elaborate(spec).config
    feeds = prompt(config, 4)
    session = lamina.Session(lamina.compile(spec, folder / "bundle", weights=saved(reference(config), adapter, folder)))
    worst = error(session(**feeds)["logits"], theirs(model, feeds), feeds["attention_mask"])
    assert worst < 2e-5
    return worst


def test_new_changes_leave_the_base_as_it_is() -> None:
    feeds = {k: torch.from_numpy(v) for k, v in prompt(elaborate(small()).config, 4).items()}
    states = empty_states(small(), rows=3)
    base = lamina.load(BASE, "7b", small=True, every=True)
    with torch.no_grad():
        first, second = (lamina.to_torch(spec).eval()(*feeds.values(), *states) for spec in (small(), base))
    torch.testing.assert_close(first["logits"], second["logits"], rtol=0, atol=0)


def test_balance_is_of_each_row_over_its_tokens_in_all_layers() -> None:
    """As the authors' `MLLM_LLaVA_MoLE.forward` has it, of padded rows too."""
    spec = lamina.load(SPEC, small=True, dropout=0.0)
    module = lamina.to_torch(spec)
    routers = [module.get_parameter(f"layers.{i}.mlp.adapter.router.weight") for i in range(2)]
    logits: list[torch.Tensor] = []
    linear = torch.nn.functional.linear

    class Kept(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, kinds: Any, inputs: Any = (), options: Any = None) -> Any:
            made = function(*inputs, **(options or {}))
            if function is linear and any(inputs[1] is router for router in routers):
                logits.append(made)
            return made

    ids, mask = torch.from_numpy(tokens(2, 9, 95)), torch.tensor([[1] * 9, [0] * 4 + [1] * 5])
    with Kept(), torch.no_grad():
        found = module(ids, mask, torch.from_numpy(NO_IMAGE), *empty_states(spec))["balance"]
    scores = torch.stack(logits).softmax(-1)
    hits = torch.nn.functional.one_hot(scores.argmax(-1), 3).float()
    rows = [[y[:, row][:, mask[row].bool()].reshape(-1, 3).mean(0) for y in (scores, hits)] for row in range(2)]
    torch.testing.assert_close(found, torch.stack([(p * h).sum() for p, h in rows]).mean())
