"""Decoders that are adapted: a base of transformers' making and an adapter beside it, as two checkpoints of one spec of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from causal_lm import Array, tokens, worst
from fill import Draw, fill
from safetensors.numpy import save_file
from test_llama import reference

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.runtime import Session
from lamina.schema.spec import ModelSpec

State = Mapping[str, Array]
Config = Mapping[str, Any]
CAUSAL = {"every": True}  # logits at every position
PARTS = {"q": "self_attn", "k": "self_attn", "v": "self_attn", "o": "self_attn", "gate": "mlp", "up": "mlp", "down": "mlp"}


def saved(base: Any, adapter: State, folder: Path) -> list[Path]:
    """Two checkpoints: the one that transformers writes of the base, and the adapter's."""
    base.save_pretrained(folder / "base")
    save_file({key: np.ascontiguousarray(value) for key, value in adapter.items()}, folder / "adapter.safetensors")
    return [folder / "base", folder / "adapter.safetensors"]


def opened(spec: ModelSpec, adapter: State, folder: Path) -> Session:
    """Ours, from the two."""
    files = saved(reference(elaborate(spec).config), adapter, folder)
    return Session(lamina.compile(spec.model_copy(update={"tokenizer": None}), folder / "bundle", weights=files))


def empty_states(spec: ModelSpec, rows: int = 2) -> list[torch.Tensor]:
    """Of one batch, before any token."""
    graph = elaborate(spec).graph
    names = {state.past for state in graph.states}
    sizes = {"N": rows, "P": 0}
    return [torch.zeros([s if isinstance(s, int) else sizes[str(s)] for s in v.shape]) for v in graph.inputs if v.name in names]


def error(path: Path, variant: str, adapt: Callable[[Any, Config], State], folder: Path, **options: Any) -> float:
    """How far a small form is from transformers' model once `adapt` has changed that; `adapt` returns the adapter's checkpoint."""
    spec = lamina.load(path, variant=variant, small=True, every=True, **options)
    config = elaborate(spec).config
    model = reference(config)
    with torch.no_grad():
        adapter = adapt(model, config)
    found = worst(model, opened(spec, adapter, folder), tokens(3, 12, 96), np.array([0, 4, 7]))
    assert found < 2e-5
    return found


def variants(path: Path) -> list[Any]:
    """Every variant of a spec; the first in each run of the tests, the others in the sweep."""
    found = lamina.load(path).variants
    return [pytest.param(name, marks=[pytest.mark.sweep] if i else []) for i, name in enumerate(found)]


def linears(model: Any, names: Iterable[str]) -> dict[str, torch.nn.Linear]:
    """The linear layers of these names by their paths in PEFT's files."""
    inside = "base_model.model.model.layers"
    return {f"{inside}.{i}.{PARTS[name[:-5]]}.{name}": getattr(block, name) for i, block, name in parts(model, names)}


def low_rank(module: torch.nn.Linear, rank: int, at: str, keys: str = "lora_{}.weight") -> dict[str, Array]:
    """Two matrices for a layer, as a checkpoint holds them."""
    sizes = {"A": (rank, module.in_features), "B": (module.out_features, rank)}
    return {key: fill(key, shape) for key, shape in ((f"{at}.{keys.format(part)}", shape) for part, shape in sizes.items())}


def causal_points() -> list[dict[str, Draw]]:
    """Rows without padding, of as many tokens as it takes for each expert to be chosen."""
    return [{"input_ids": Draw(shape, "int64", 0, 96), "attention_mask": Draw(shape, "int64", 1, 2)} for shape in ((3, 60), (1, 1))]


def run_causal(model: Any, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"logits": model(**inputs).logits}


def tied(config: Config) -> list[str]:
    """Keys that are the same weight as another."""
    return ["lm_head.weight"] if config["tied"] else []


def parts(model: Any, names: Iterable[str]) -> list[tuple[int, Any, str]]:
    """The linear layers of these names (`q`, `gate`) in a decoder: the number of the layer, the module around, and what it calls it."""
    return [(i, getattr(layer, PARTS[name]), f"{name}_proj") for i, layer in enumerate(model.model.layers) for name in names]


def replaced(model: Any, layers: Mapping[str, torch.nn.Module]) -> None:
    """Put modules in the place of linear layers, by PEFT's paths."""
    for at, layer in layers.items():
        model.set_submodule(at.removeprefix("base_model.model."), layer)
