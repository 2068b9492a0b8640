"""Write what the authors' Mixture-of-Mamba computes. Run by hand, given a checkout of github.com/Weixin-Liang/Mixture-of-Mamba:

pip install einops && python tests/references/make_mixture_of_mamba.py --source PATH

Their file needs `mamba_ssm`, whose scan wants a GPU: here stands the recurrence that it computes. Around their mixer is the block of
their `example_use.py`, and around the blocks an embedding, a norm and a head, which they do not publish.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from fill import Draw, Scale
from making import Tensors, write
from torch import Tensor, nn

SPEC, REFERENCE = "language/mixture_of_mamba", "github.com/Weixin-Liang/Mixture-of-Mamba"
DIM, STATES, VOCABULARY = 32, 4, 96
PARTS = ("in", "x", "dt", "out")


def scan(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: Tensor, delta_bias: Any, **_: Any) -> Tensor:
    """As mamba_ssm's `selective_scan_ref`, with softplus; u, dt, z: [N, D, T], b and c: [N, S, T]."""
    assert delta_bias is None
    dt, h, steps = F.softplus(dt), torch.zeros(*u.shape[:2], a.shape[1]), []
    for t in range(u.shape[2]):
        h = torch.exp(dt[:, :, t, None] * a) * h + (dt[:, :, t] * u[:, :, t])[..., None] * b[:, None, :, t]
        steps.append((h * c[:, None, :, t]).sum(-1))
    return (torch.stack(steps, 2) + u * d[:, None]) * F.silu(z)


def authors_mixer(source: str) -> Any:
    """Their class over that recurrence."""
    for name in ("mamba_ssm", "mamba_ssm.ops", "src"):
        stand_in(name)
    stand_in("mamba_ssm.ops.selective_scan_interface", mamba_inner_fn=None, selective_scan_fn=scan)
    stand_in("src.args", ModelArgs=SimpleNamespace)
    sys.path.insert(0, source)
    return importlib.import_module("MixtureOfMamba").MixtureOfMamba


def stand_in(name: str, **members: Any) -> None:
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)


class Decoder(nn.Module):
    """Two of their blocks."""

    def __init__(self, mixer: Any, modalities: int, parts: tuple[str, ...]) -> None:
        super().__init__()
        args = SimpleNamespace(n_modalities=modalities, **{f"do_not_split_{part}_proj": part not in parts for part in PARTS})
        self.embeddings, self.norm = nn.Embedding(VOCABULARY, DIM), nn.RMSNorm(DIM, eps=1e-5)
        blocks = [{"norm": nn.RMSNorm(DIM, eps=1e-5), "mamba_model": mixer(args, d_model=DIM, d_state=STATES)} for _ in range(2)]
        self.layers = nn.ModuleList(nn.ModuleDict(block) for block in blocks)
        self.output, self.modalities = nn.Linear(DIM, VOCABULARY, bias=False), modalities

    def forward(self, ids: Tensor, modality: Tensor) -> Tensor:
        masks = torch.stack([modality.flatten() == m for m in range(self.modalities)])
        x = self.embeddings(ids)
        for block in self.layers:
            x = x + block["mamba_model"](block["norm"](x), modality_masks=masks)
        logits: Tensor = self.output(self.norm(x))
        return logits


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["input_ids"], inputs["modality"])}


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    mixer = authors_mixer(parser.parse_args().source)
    scales = [Scale("*dt_proj*.bias", -1, 1), Scale("*.A_log", 0.5, 1)]  # memories of a few steps
    # their file drops the bias of a dt_proj that is shared, so that case is transformers' (test_mixture_of_mamba.py)
    cases: dict[str, tuple[int, tuple[str, ...]]] = dict.fromkeys(("37m", "94m", "443m", "880m", "1.5b"), (2, PARTS))
    cases |= {"37m_speech": (3, PARTS), "37m_dt": (2, ("dt",)), "37m_not_in_out": (2, ("x", "dt"))}
    for name, (modalities, parts) in cases.items():
        shapes = [(1, 40), (2, 17)] if parts == PARTS else [(2, 9)]
        points = [{"input_ids": Draw(s, "int64", 0, VOCABULARY), "modality": Draw(s, "int64", 0, modalities)} for s in shapes]
        variant = name if parts == PARTS else "37m"
        config: dict[str, Any] = {"every": True} | ({} if parts == PARTS else {"parts": list(parts)})
        model = Decoder(mixer, modalities, parts)
        write(SPEC, name, model, points, run, reference=REFERENCE, variant=variant, small=True, config=config, scales=scales)
