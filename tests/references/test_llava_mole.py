"""LLaVA-MoLE: what its routers learn from, and one expert alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from adapting import Config, State, linears, low_rank, saved
from causal_lm import tokens
from fill import fill
from test_llama import reference

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "llava_mole.yaml"


def one_expert(model: Any, config: Config) -> State:
    """Its products added to the weights, and the checkpoint of the adapter."""
    adapter: dict[str, Any] = {}
    for at, layer in linears(model, ["q", "k", "v", "o", "gate", "up", "down"]).items():
        inside, _, name = at.rpartition(".")
        network = name.removesuffix("_proj") in ("gate", "up", "down")
        path = f"llm_model.{inside}.moe_{name.removesuffix('_proj')}.0" if network else f"llm_model.{at}"
        pair = low_rank(layer, config["rank"], path, "lora_{}" if network else "lora_{}.default.weight")
        first, second = (torch.from_numpy(value) for value in pair.values())
        layer.weight += config["alpha"] / config["rank"] * second @ first
        adapter |= pair
    for i in range(config["layers"]):
        at = f"llm_model.base_model.model.model.layers.{i}.mlp.router"
        adapter |= {f"{at}.weight": fill(at, (1, config["dim"])), f"{at}.bias": fill(at, (1,))}
    return adapter


def test_one_expert_is_a_plain_adapter(tmp_path: Path) -> None:
    spec = lamina.load(SPEC, small=True, experts=1, every=True).model_copy(update={"tokenizer": None})
    config = elaborate(spec).config
    model = reference(config)
    with torch.no_grad():
        files = saved(reference(config), one_expert(model, config), tmp_path)
        ids = tokens(2, 7, 96)
        wanted = model(torch.from_numpy(ids)).logits.numpy()
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=files))
    found = session(input_ids=ids, attention_mask=np.ones_like(ids), visual=np.zeros((0, 32), np.float32))["logits"]
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


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

    ids, mask = torch.from_numpy(tokens(2, 9, 96)), torch.tensor([[1] * 9, [0] * 4 + [1] * 5])
    states = [torch.zeros(2, 2, 0, 8)] * 4
    with Kept(), torch.no_grad():
        found = module(ids, mask, torch.zeros(0, 32), *states)["balance"]
    scores = torch.stack(logits).softmax(-1)
    hits = torch.nn.functional.one_hot(scores.argmax(-1), 3).float()
    rows = [[y[:, row][:, mask[row].bool()].reshape(-1, 3).mean(0) for y in (scores, hits)] for row in range(2)]
    torch.testing.assert_close(found, torch.stack([(p * h).sum() for p, h in rows]).mean())
