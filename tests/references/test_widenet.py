"""WideNet against PyTorch's own attention and the experts one by one; and its weights are those of one layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, multi_head_attention_forward

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "widenet.yaml"
DIM, HEADS, EXPERTS, TOKENS = 24, 3, 4, 17
IMAGE = torch.from_numpy(uniform("image", (3, 3, 32, 32)))
Weights = dict[str, Tensor]


def drawn(variant: str) -> Weights:
    module = lamina.to_torch(lamina.load(SPEC, variant, small=True))
    return {k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape)))) for k, v in module.state_dict().items()}


def attention(x: Tensor, w: Weights) -> Tensor:
    y = x.transpose(0, 1)
    projection = (w["attn.qkv.weight"], w["attn.qkv.bias"], None, None, False, 0.0, w["attn.proj.weight"], w["attn.proj.bias"])
    return multi_head_attention_forward(y, y, y, DIM, HEADS, *projection, need_weights=False)[0].transpose(0, 1)


def experts(x: Tensor, scores: Tensor, w: Weights, most: int) -> Tensor:
    """Token after token: first choices take places before second ones do, and who finds none is left out."""
    flat, probabilities = x.flatten(0, 1), scores.softmax(-1).flatten(0, 1)
    made, chosen, places = torch.zeros_like(flat), probabilities.topk(2).indices.tolist(), [most] * EXPERTS
    for turn in range(2):
        for t, choice in enumerate(chosen):
            n = choice[turn]
            if places[n]:
                places[n] -= 1
                hidden = gelu(flat[t] @ w[f"experts.of.{n}.fc1.weight"].T + w[f"experts.of.{n}.fc1.bias"])
                made[t] += probabilities[t, n] * (hidden @ w[f"experts.of.{n}.fc2.weight"].T + w[f"experts.of.{n}.fc2.bias"])
    return made.view_as(x)


def wanted(w: Weights, most: int) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (DIM,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    x = conv2d(IMAGE, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=8).flatten(2).mT
    x = torch.cat([w["cls_token"].expand(3, -1, -1), x], 1) + w["pos_embed"]
    for i in range(3):
        x = x + attention(norm(x, f"blocks.{i}.norm1"), w)
        y = norm(x, f"blocks.{i}.norm2")
        router = w.get("shared_router.weight", w.get(f"blocks.{i}.router.weight"))
        assert router is not None
        x = x + experts(y, y @ router.T, w, most)
    return norm(x, "norm").mean(1) @ w["head.weight"].T + w["head.bias"]


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    """In training an expert of four takes 1.25 times its share of two choices, an even number."""
    weights = drawn(variant)
    tokens = 3 * TOKENS
    most = 2 * ((2 * tokens * 5 // 4 // EXPERTS + 1) // 2) if variant == "base_training" else tokens
    save_file({k: v.numpy() for k, v in weights.items()}, tmp_path / "weights.safetensors")
    bundle = lamina.compile(lamina.load(SPEC, variant, small=True), tmp_path / "bundle", weights=tmp_path / "weights.safetensors")
    found, want = lamina.Session(bundle)(image=IMAGE.numpy())["logits"], wanted(weights, most).numpy()
    error = float(np.abs(found - want).max() / np.abs(want).max())
    assert error < 1e-5
    record(SPEC, variant, "parity", f"{error:.0e} of PyTorch's attention and each expert by itself, small")


def test_capacity_drops_tokens() -> None:
    weights = drawn("base_training")
    assert (wanted(weights, 32) - wanted(weights, 3 * TOKENS)).abs().max() > 1e-3


def test_layers_share_all_but_their_norms(tmp_path: Path) -> None:
    """A layer more is two norms more, and a file holds each weight once."""
    names = [{p.name: p.shape for p in elaborate(lamina.load(SPEC, "base", small=True, depth=d)).graph.parameters()} for d in (3, 4)]
    assert sorted(names[1].keys() - names[0].keys()) == sorted(f"blocks.3.norm{i}.{part}" for i in (1, 2) for part in ("weight", "bias"))
    bundle = lamina.compile(lamina.load(SPEC, "base", small=True), tmp_path / "bundle", ["onnx"])
    held = sum(int(np.prod(tensor.dims)) for tensor in onnx.load(bundle / "model.onnx").graph.initializer if tensor.data_type == 1)
    assert held == pytest.approx(sum(int(np.prod(shape)) for shape in names[0].values()), abs=64)
