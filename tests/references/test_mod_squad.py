"""Mod-Squad's two kinds of experts against each expert by itself, in PyTorch; and a graph without those that its task never chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, one_hot

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "mod_squad.yaml"
DIM, HEAD, DEPTH, HEADS, EXPERTS = 24, 8, 2, 5, 6
IMAGE = torch.from_numpy(uniform("image", (3, 3, 32, 32)))
Weights = dict[str, Tensor]
Array = np.ndarray[Any, Any]


def drawn(variant: str) -> Weights:
    module = lamina.to_torch(lamina.load(SPEC, variant, small=True))
    return {k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape)))) for k, v in module.state_dict().items()}


def norm(x: Tensor, w: Weights, name: str) -> Tensor:
    return layer_norm(x, (DIM,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)


def shares(x: Tensor, router: Tensor) -> Tensor:
    """[N, T, experts]: the two largest probabilities, and zeros."""
    probabilities = (x @ router.T).softmax(-1)
    return probabilities * one_hot(probabilities.topk(2, -1).indices, len(router)).sum(-2)


def attention(x: Tensor, w: Weights, task: str) -> Tensor:
    """Each expert is a head that reads every token."""
    gates, (k, v) = shares(x, w[f"router.{task}.weight"]), (x @ w["kv.weight"].T).split(HEAD, -1)
    made = torch.zeros_like(x)
    for n in range(HEADS):
        q = x @ w[f"query.{n}.weight"].T
        made += gates[..., n, None] * ((q @ k.mT / HEAD**0.5).softmax(-1) @ v @ w[f"out.{n}.weight"].T)
    return made


def network(x: Tensor, w: Weights, task: str) -> Tensor:
    gates, made = shares(x, w[f"router.{task}.weight"]), torch.zeros_like(x)
    for n in range(EXPERTS):
        hidden = gelu(x @ w[f"experts.{n}.fc1.weight"].T + w[f"experts.{n}.fc1.bias"])
        made += gates[..., n, None] * (hidden @ w[f"experts.{n}.fc2.weight"].T + w[f"experts.{n}.fc2.bias"])
    return made


def wanted(w: Weights, task: str) -> Tensor:
    x = conv2d(IMAGE, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=8).flatten(2).mT
    x = torch.cat([w["cls_token"].expand(3, -1, -1), x], 1) + w["pos_embed"]
    for i in range(DEPTH):
        for part, name, what in (("attn", "norm1", attention), ("mlp", "norm2", network)):
            own = {k.removeprefix(f"blocks.{i}.{part}."): v for k, v in w.items() if k.startswith(f"blocks.{i}.{part}.")}
            x = x + what(norm(x, w, f"blocks.{i}.{name}"), own, task)
    x = norm(x, w, "norm")
    if task == "classify":
        return x[:, 0] @ w["classify.weight"].T + w["classify.bias"]
    return (x[:, 1:] @ w["segment.weight"].T + w["segment.bias"]).unflatten(1, (4, 4)).permute(0, 3, 1, 2)


def compiled(variant: str, weights: Weights, folder: Path, **config: Any) -> lamina.Session:
    save_file({k: v.numpy() for k, v in weights.items()}, folder / "weights.safetensors")
    spec = lamina.load(SPEC, variant, small=True, **config)
    return lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_experts_are_heads_and_networks(task: str, tmp_path: Path, record: Record) -> None:
    weights = drawn(task)
    found = next(iter(compiled(task, weights, tmp_path)(image=IMAGE.numpy()).values()))
    want = wanted(weights, task).numpy()
    error = float(np.abs(found - want).max() / np.abs(want).max())
    assert error < 1e-5
    record(SPEC, task, "parity", f"{error:.0e} of each expert by itself in PyTorch, small")


def without(weights: Weights, held: dict[str, list[int]]) -> Weights:
    """Experts that are kept, under their new numbers."""
    kept = {}
    for key, value in weights.items():
        words = key.split(".")
        if len(words) > 3 and words[3] in held:
            if int(words[4]) not in held[words[3]]:
                continue
            words[4] = str(held[words[3]].index(int(words[4])))
        kept[".".join(words)] = value
    return kept


def test_experts_that_the_task_never_chooses_may_be_left_out(tmp_path: Path) -> None:
    """The scores of some are always the least, since all tokens lie in a direction of which these want nothing."""
    weights, heads, others = drawn("classify"), [0, 2, 3], [1, 2, 4, 5]
    for i in range(DEPTH):
        for part, name, held in (("attn", "norm1", heads), ("mlp", "norm2", others)):
            weights[f"blocks.{i}.{name}.bias"][0] = 30.0
            weights[f"blocks.{i}.{part}.router.classify.weight"][:, 0] = torch.tensor(
                [n in held for n in range(HEADS if part == "attn" else EXPERTS)]
            )
    whole = compiled("classify", weights, tmp_path)(image=IMAGE.numpy())["classes"]
    fewer = without(weights, {"query": heads, "out": heads, "experts": others})
    pruned = compiled("classify", fewer, tmp_path, kept_heads=[heads] * DEPTH, kept=[others] * DEPTH)(image=IMAGE.numpy())["classes"]
    np.testing.assert_allclose(pruned, whole, atol=1e-6)
    assert len(fewer) < len(weights)
