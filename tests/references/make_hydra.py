"""Write what the authors' masked language model computes. Run by hand, given a checkout of github.com/goombalab/hydra:

pip install einops transformers && python tests/references/make_hydra.py --source PATH

Their layer takes its scan and its last norm from mamba-ssm, which needs a GPU: both stand here, the scan as the recurrence that it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

SPEC, REFERENCE = "sequence/hydra", "the authors' code"
SIZES: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "vocab_size": 96, "d_state": 6, "headdim": 8, "d_conv": 5}


class GatedNorm(nn.RMSNorm):
    """As mamba-ssm's, with the gate after the norm."""

    def __init__(self, dim: int, eps: float, norm_before_gate: bool, **_: Any) -> None:
        assert norm_before_gate
        super().__init__(dim, eps=eps)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * F.silu(z)


def scan(x: Any, dt: Any, A: Any, B: Any, C: Any, **_: Any) -> torch.Tensor:
    """mamba_chunk_scan_combined, step by step. x: [N, T, heads, d]; dt: [N, T, heads]; A: [heads]; B, C: [N, T, groups, states]."""
    heads = x.shape[2]
    B, C = (y.repeat_interleave(heads // y.shape[2], dim=2) for y in (B, C))
    state, outputs = x.new_zeros(len(x), heads, x.shape[3], B.shape[3]), []
    for t in range(x.shape[1]):
        added = (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
        state = torch.exp(dt[:, t] * A)[..., None, None] * state + added
        outputs.append((state * C[:, t, :, None]).sum(-1))
    return torch.stack(outputs, dim=1)


def stand_in(name: str, **members: Any) -> None:
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)


def authors_model(source: Path) -> Any:
    """Their BertForMaskedLM, without the kernels that it imports."""
    stand_in("mamba_ssm.ops.triton.layernorm_gated", RMSNorm=GatedNorm)
    stand_in("mamba_ssm.ops.triton.ssd_combined", mamba_chunk_scan_combined=scan)
    stand_in("hydra.modules.ops", hydra_split_conv1d_scan_combined=None)
    layer = loaded("hydra_layer", source / "hydra" / "modules" / "hydra.py")
    stand_in("modules", Hydra=layer.Hydra, MatrixMixer=None)
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    model = authors_model(Path(parser.parse_args().source))
    points = [
        {
            "input_ids": Draw(shape, "int64", 0, 96),
            "attention_mask": Draw(shape, "int64", 1, 2),
            "token_type_ids": Draw(shape, "int64", 0, 2),
        }
        for shape in ((2, 70), (3, 9))
    ]
    tied, scales = ["cls.predictions.decoder.weight"], [Scale("*.D", 1, 0.5)]
    write(SPEC, "bert_base", model, points, run, reference=REFERENCE, variant="bert_base", small=True, scales=scales, own=tied)
