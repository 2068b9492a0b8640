"""Write what the authors' masked language model computes, and their layer in a vision transformer. Run by hand, given a checkout of
github.com/goombalab/hydra:

pip install einops transformers && python tests/references/make_hydra.py --source PATH

Their layer takes its scan and its last norm from mamba-ssm, which needs a GPU: both stand here, the scan as the matrix that it is.
So does the vision transformer, as in `src/models/baselines/vit_all.py` of github.com/state-spaces/s4 without class token and positions.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

REFERENCE = "the authors' code"
SIZES: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "vocab_size": 96, "d_state": 6, "headdim": 8, "d_conv": 5}


class GatedNorm(nn.RMSNorm):
    """As mamba-ssm's, with the gate after the norm."""

    def __init__(self, dim: int, eps: float, norm_before_gate: bool, **_: Any) -> None:
        assert norm_before_gate
        super().__init__(dim, eps=eps)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * F.silu(z)


def scan(x: Any, dt: Any, A: Any, B: Any, C: Any, **_: Any) -> torch.Tensor:
    """mamba_chunk_scan_combined as one matrix. x: [N, T, heads, d]; dt: [N, T, heads]; A: [heads]; B, C: [N, T, groups, states]."""
    heads, length = x.shape[2], x.shape[1]
    B, C = (y.repeat_interleave(heads // y.shape[2], dim=2) for y in (B, C))
    passed = (dt * A).double().cumsum(1)
    later = torch.ones(length, length, dtype=torch.bool).triu(1)[..., None]
    decay = (passed[:, :, None] - passed[:, None]).masked_fill(later, -torch.inf).exp()
    matrix = decay.to(x.dtype) * torch.einsum("nihs,njhs->nijh", C, B) * dt[:, None]
    return torch.einsum("nijh,njhp->nihp", matrix, x)


def stand_in(name: str, **members: Any) -> None:
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)


class Norm(nn.Module):
    """As their Normalization."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(x)
        return normed


class Block(nn.Module):
    """As their SequenceResidualBlock."""

    def __init__(self, layer: nn.Module, dim: int) -> None:
        super().__init__()
        self.layer, self.norm = layer, Norm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = x + self.layer(self.norm(x))
        return mixed


class VisionTransformer(nn.Module):
    """Layers over the patches of an image, and the mean of what they leave."""

    def __init__(self, layer: Any, dim: int, layers: int, classes: int) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, 16, 16)})
        self.blocks = nn.Sequential(*(Block(layer(dim), dim) for _ in range(layers)))
        self.norm, self.head = Norm(dim), nn.Linear(dim, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed["proj"](image).flatten(2).transpose(1, 2)
        logits: torch.Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return logits


def authors_layer(source: Path) -> Any:
    """Their module of Hydra, without the kernels that it imports."""
    stand_in("mamba_ssm.ops.triton.layernorm_gated", RMSNorm=GatedNorm)
    stand_in("mamba_ssm.ops.triton.ssd_combined", mamba_chunk_scan_combined=scan)
    stand_in("hydra.modules.ops", hydra_split_conv1d_scan_combined=None)
    return loaded("hydra_layer", source / "hydra" / "modules" / "hydra.py").Hydra


def authors_model(source: Path, layer: Any) -> Any:
    """Their BertForMaskedLM."""
    stand_in("modules", Hydra=layer, MatrixMixer=None)
    sys.path.insert(0, str(source / "hydra" / "bert" / "src"))
    config = importlib.import_module("configuration_bert").BertConfig
    return importlib.import_module("bert_layers").BertForMaskedLM(config(**SIZES, hidden_dropout_prob=0.0))


def loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    return {"logits": model(**inputs).logits}


def write_language(layer: Any, source: Path) -> None:
    points = [
        {
            "input_ids": Draw(shape, "int64", 0, 96),
            "attention_mask": Draw(shape, "int64", 1, 2),
            "token_type_ids": Draw(shape, "int64", 0, 2),
        }
        for shape in ((2, 70), (3, 9))
    ]
    tied, scales = ["cls.predictions.decoder.weight"], [Scale("*.D", 1, 0.5)]
    model = authors_model(source, layer)
    write("sequence/hydra", "bert_base", model, points, run, reference=REFERENCE, variant="bert_base", small=True, scales=scales, own=tied)


def write_vision(layer: Any) -> None:
    sizes = {key: SIZES[key] for key in ("d_state", "headdim", "d_conv")}
    small = VisionTransformer(partial(layer, **sizes), 24, 2, 10)
    for name, model, side in (("small", small, 32), ("whole", VisionTransformer(layer, 768, 24, 1000), 224)):
        points = [{"image": Draw((count, 3, side, side), low=-2, high=2)} for count in ((1, 3) if name == "small" else (1,))]
        write(
            "vision/hydra_vit", f"base_{name}", model, points, lambda model, inputs: {"logits": model(**inputs)},
            reference="the authors' layer", variant="base", small=name == "small", sweep=name == "whole", scales=[Scale("*.D", 1, 0.5)],
        )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    source = Path(parser.parse_args().source)
    layer = authors_layer(source)
    write_language(layer, source)
    write_vision(layer)
