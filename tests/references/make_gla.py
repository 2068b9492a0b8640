"""Write what flash-linear-attention's GLA layer computes over the plain recurrence that it is tested against. Run by hand, given a
checkout of github.com/fla-org/flash-linear-attention:

pip install einops && python tests/references/make_gla.py --source PATH

Their models need Triton and a GPU throughout. The layer itself and the recurrence (`fla/layers/gla.py`, `fla/ops/gla/naive.py`)
do not, once the fused norms that the layer imports stand here as what they fuse. So does the network around the layer, as in
`fla/models/gla/modeling_gla.py`.
"""

from __future__ import annotations

import argparse
import importlib
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

SPEC, REFERENCE = "language/gla", "flash-linear-attention's layer"
SIZES: dict[str, Any] = {"hidden_size": 32, "num_heads": 4, "norm_eps": 1e-6}


class GatedNorm(nn.RMSNorm):
    """As their FusedRMSNormGated."""

    def __init__(self, hidden_size: int, elementwise_affine: bool, eps: float) -> None:
        super().__init__(hidden_size, eps=eps, elementwise_affine=elementwise_affine)

    def forward(self, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * F.silu(g)


class Block(nn.Module):
    """As their GLABlock."""

    def __init__(self, layer: nn.Module, dim: int, hidden: int) -> None:
        super().__init__()
        self.attn_norm, self.attn = nn.RMSNorm(dim, eps=1e-6), layer
        self.mlp_norm, self.mlp = nn.RMSNorm(dim, eps=1e-6), nn.ModuleDict()
        for name, sizes in {"gate_proj": (dim, hidden), "up_proj": (dim, hidden), "down_proj": (hidden, dim)}.items():
            self.mlp[name] = nn.Linear(*sizes, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.attn_norm(x))[0]
        y = self.mlp_norm(x)
        mixed: torch.Tensor = x + self.mlp["down_proj"](F.silu(self.mlp["gate_proj"](y)) * self.mlp["up_proj"](y))
        return mixed


class Decoder(nn.Module):
    """As their GLAForCausalLM."""

    def __init__(self, layer: Any, tied: bool, vocabulary: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"embeddings": nn.Embedding(vocabulary, dim), "norm": nn.RMSNorm(dim, eps=1e-6)})
        self.model["layers"] = nn.Sequential(*(Block(layer(), dim, hidden) for _ in range(2)))
        self.lm_head = None if tied else nn.Linear(dim, vocabulary, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.model["norm"](self.model["layers"](self.model["embeddings"](ids)))
        logits: torch.Tensor = x @ self.model["embeddings"].weight.T if self.lm_head is None else self.lm_head(x)
        return logits


def authors_layer(source: Path) -> Any:
    """Their GatedLinearAttention over their naive recurrence."""
    for name in ("fla", "fla.layers", "fla.ops"):
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = [str(source.joinpath(*name.split(".")))]
    spec = importlib.util.spec_from_file_location("naive", source / "fla" / "ops" / "gla" / "naive.py")
    assert spec is not None
    assert spec.loader is not None
    naive = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(naive)

    def recurrent(q: Any, k: Any, v: Any, gk: Any = None, g: Any = None, **_: Any) -> Any:
        return naive.naive_recurrent_gla(q, k, v, g if gk is None else gk)

    stand_in("fla.ops.gla", chunk_gla=recurrent, fused_recurrent_gla=recurrent, fused_chunk_gla=None)
    stand_in("fla.modules", FusedRMSNormGated=GatedNorm, RMSNorm=nn.RMSNorm, ShortConvolution=None)
    stand_in("fla.modules.activations", ACT2FN={"swish": F.silu})
    stand_in(
        "fla.layers.utils",
        get_layer_cache=lambda *_: None,
        update_layer_cache=lambda *_, **__: None,
        unpad_hidden_states=lambda x, *_: (x, None, None),
        repad_hidden_states=lambda x, *_: x,
    )
    return importlib.import_module("fla.layers.gla").GatedLinearAttention


def stand_in(name: str, **members: Any) -> None:
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    """Every token is there."""
    return {"logits": model(inputs["input_ids"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    layer = authors_layer(Path(parser.parse_args().source))
    scales = [Scale("*.gk_proj.1.bias", 2, 2)]  # gates of which some forget within the sequence, and some do not
    whole, short = [(1, 520), (3, 65)], [(2, 9)]
    cases: dict[str, tuple[dict[str, Any], bool, list[tuple[int, int]]]] = {
        "340m": ({}, True, whole),
        "340m_untied": ({}, False, short),
        "340m_one_key": ({"num_kv_heads": 1}, True, whole),
        "1.3b": ({}, False, short),
    }
    for name, (more, tied, shapes) in cases.items():
        config: dict[str, Any] = {"vocabulary": 40, "every": True, "tied": tied} | ({"kv_heads": 1} if more else {})
        model = Decoder(partial(layer, **SIZES, gate_low_rank_dim=4, **more), tied, vocabulary=40, dim=32, hidden=48)
        points = [{"input_ids": Draw(shape, "int64", 0, 40), "attention_mask": Draw(shape, "int64", 1, 2)} for shape in shapes]
        variant = name.split("_")[0]
        write(SPEC, name, model, points, run, reference=REFERENCE, variant=variant, small=True, config=config, scales=scales)
