"""LoRA-Mixer against transformers' decoder with every expert run on every token, from keys such as PEFT writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from adapted_lm import IDS, Tensors, adapted, logits, ours, outputs
from evidence import Record
from safetensors.torch import save_file

import lamina
from lamina.runtime import Session

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "lora_mixer.yaml"
VARIANT = "llama-3-8b"


def dense(config: Mapping[str, Any], seen: list[tuple[torch.Tensor, torch.Tensor]]) -> Callable[[torch.Tensor, Tensors], torch.Tensor]:
    """y += scale * sum of p_e B_e A_e x, over the experts with the largest p; what routers said is left in `seen`."""

    def add(x: torch.Tensor, own: Tensors) -> torch.Tensor:
        p = (x @ own["router.weight"].T).softmax(-1)
        kept = p >= p.sort(-1, descending=True).values[..., (config["experts"] if config["soft"] else config["active"]) - 1, None]
        hard = p >= p.sort(-1, descending=True).values[..., config["active"] - 1, None]
        seen.append((p, hard))
        made = [x @ own[f"experts.{e}.a.weight"].T @ own[f"experts.{e}.b.weight"].T for e in range(config["experts"])]
        mixed: torch.Tensor = sum(p[..., e, None] * kept[..., e, None] * y for e, y in enumerate(made))  # type: ignore[assignment]
        return config["scale"] * mixed

    return add


def their_keys(state: Tensors) -> Tensors:
    """Those of LoRA files of PEFT, an expert each."""
    found = {}
    for key, value in state.items():
        path, _, rest = key.partition(".adapter.experts.")
        number, _, matrix = rest.partition(".")
        found[f"{number}.base_model.model.model.{path}.lora_{matrix[0].upper()}.weight" if rest else key] = value
    return found


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    module, state, config = ours(SPEC, variant)
    want = adapted(state, config, dense(config, []))
    keys = their_keys(state)
    loras = {k: v for k, v in keys.items() if "lora_" in k}
    assert len(loras) == 2 * 4 * config["layers"] * config["experts"]
    save_file({k: v for k, v in keys.items() if k not in loras}, tmp_path / "base.safetensors")
    save_file({k: v.contiguous() for k, v in loras.items()}, tmp_path / "loras.safetensors")
    spec = lamina.load(SPEC, variant=variant, small=True, every=True).model_copy(update={"tokenizer": None})
    files = [tmp_path / "base.safetensors", tmp_path / "loras.safetensors"]
    session = Session(lamina.compile(spec, tmp_path / "bundle", weights=files))
    got = session(input_ids=IDS.numpy(), attention_mask=np.ones_like(IDS.numpy()))["logits"]
    error = max(float((torch.as_tensor(y) - want).abs().max() / want.abs().max()) for y in (got, logits(module, state, config)))
    assert error < 1e-5
    record(SPEC, variant, "parity", f"{error:.0e} of transformers {transformers.__version__} with every expert run, small")


@pytest.mark.parametrize("active", [1, 3])
def test_the_loss_of_routers_is_the_paper_s(active: int) -> None:
    module, state, config = ours(SPEC, VARIANT, active=active)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    adapted(state, config, dense(config, seen))
    losses = []
    for p, hard in seen:
        used = hard.flatten(0, 1).float().mean(0) / active
        entropy = -(p * p.log()).sum(-1).mean()
        losses.append(config["balance"] * (p.flatten(0, 1).mean(0) * used).sum() - config["entropy"] * entropy)
    module.load_state_dict(module.state_dict() | state)
    found = outputs(module.train(), config)["routing"]
    assert len(losses) == 4 * config["layers"]
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-4, atol=1e-6)


def test_training_mixes_all_and_running_the_best() -> None:
    """With as many active as there are experts, both are one."""
    soft, state, config = ours(SPEC, VARIANT, soft=True)
    hard, _, _ = ours(SPEC, VARIANT)
    every, _, _ = ours(SPEC, VARIANT, active=4)
    mixed = logits(soft, state, config)
    torch.testing.assert_close(logits(every, state, config), mixed, atol=1e-5, rtol=1e-5)
    assert (logits(hard, state, config) - mixed).abs().max() > 1e-2


def test_some_projections_may_have_none() -> None:
    module, _, _ = ours(SPEC, VARIANT, parts="[q, v]")
    assert {name.split(".")[3] for name in module.state_dict() if ".adapter." in name} == {"q_proj", "v_proj"}
