"""A decoder of the Llama family with an adaptation of ours, and transformers' decoder with a formula beside its linear layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from causal_lm import tokens
from fill import fill
from test_llama import reference

import lamina
from lamina.compiler.elaborate import elaborate

Tensors = dict[str, torch.Tensor]
IDS = torch.from_numpy(tokens(2, 7, 96))


def ours(spec: Path, variant: str, **config: Any) -> tuple[Any, Tensors, Mapping[str, Any]]:
    """The small module, weights for it by path, and its config."""
    made = lamina.load(spec, variant=variant, small=True, every=True, **config)
    module = lamina.to_torch(made)
    floats = {k: v for k, v in module.state_dict().items() if v.is_floating_point()}
    state = {k: torch.from_numpy(np.array(fill(k, tuple(v.shape)))) for k, v in floats.items()}
    return module, state, elaborate(made).config


def outputs(module: Any, config: Mapping[str, Any]) -> Any:
    """What the module makes of `IDS`, with nothing before them."""
    past = torch.zeros(len(IDS), config["kv_heads"], 0, config["head_dim"])
    return module(IDS, torch.ones_like(IDS), *[past] * (2 * config["layers"]))


def logits(module: Any, state: Tensors, config: Mapping[str, Any]) -> torch.Tensor:
    module.load_state_dict(module.state_dict() | state)
    with torch.no_grad():
        found = outputs(module.eval(), config)
    first: torch.Tensor = found["logits"] if isinstance(found, dict) else found
    return first


def plain(state: Tensors, config: Mapping[str, Any]) -> Any:
    """Transformers' decoder with the base's weights."""
    model = reference(config)
    base = {("" if k.startswith("lm_head") else "model.") + k: v for k, v in state.items() if "adapter." not in k}
    missing, unexpected = model.load_state_dict(base, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    return model


def adapted(state: Tensors, config: Mapping[str, Any], add: Callable[[torch.Tensor, Tensors], torch.Tensor]) -> torch.Tensor:
    """Its logits, where `add` adds something to each linear layer that has an adapter, given its input and the adapter's weights."""
    model = plain(state, config)
    for name, part in model.model.named_modules():
        own = {k.removeprefix(f"{name}.adapter."): v for k, v in state.items() if k.startswith(f"{name}.adapter.")}
        if own and isinstance(part, torch.nn.Linear):
            part.register_forward_hook(lambda _, x, y, own=own: y + add(x[0], own))
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found
