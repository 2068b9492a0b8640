"""Write what the authors' hybrid decoder computes. Run by hand, given a checkout of github.com/hustvl/MaTVLM:

pip install einops transformers huggingface-hub && python tests/references/make_matvlm.py --source PATH

Their mixer takes its scan, convolution and norm from packages that need a GPU: they stand here as what they compute. Around the mixer is
Phi of transformers, as there. They decode without a cache, and their mixer reads padding, so every row here is whole.
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
from transformers import PhiConfig, PhiForCausalLM

SPEC, REFERENCE = "language/matvlm", "the authors' mixer in transformers' Phi"
DIM, HEADS, KV_HEADS = 40, 4, 2


class GatedNorm(nn.Module):
    """As mamba-ssm's, with the gate before the norm, over groups."""

    def __init__(self, dim: int, eps: float, norm_before_gate: bool, group_size: int, **_: Any) -> None:
        super().__init__()
        assert not norm_before_gate
        self.weight, self.eps, self.size = nn.Parameter(torch.ones(dim)), eps, group_size

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        grouped = (x * F.silu(z)).unflatten(-1, (-1, self.size))
        return F.rms_norm(grouped, (self.size,), eps=self.eps).flatten(-2) * self.weight


def convolution(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, activation: str, **_: Any) -> torch.Tensor:
    """As causal_conv1d_fn. x: [N, C, T]; weight: [C, kernel]."""
    assert activation == "silu"
    return F.silu(F.conv1d(F.pad(x, (weight.shape[1] - 1, 0)), weight[:, None], bias, groups=len(weight)))


def scan(x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, dt_bias: Any, dt_softplus: bool, **_: Any) -> torch.Tensor:
    """As mamba_chunk_scan_combined, step by step. x: [N, T, heads, d]; dt: [N, T, heads]; B, C: [N, T, heads, states]."""
    assert dt_softplus
    dt = F.softplus(dt + dt_bias)
    state, outputs = x.new_zeros(*x.shape[::2], x.shape[3], B.shape[3]), []
    for t in range(x.shape[1]):
        state = torch.exp(dt[:, t] * A)[..., None, None] * state + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
        outputs.append((state * C[:, t, :, None]).sum(-1) + D[:, None] * x[:, t])
    return torch.stack(outputs, dim=1)


def stand_in(name: str, **members: Any) -> None:
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)


def authors_mixer(source: Path) -> Any:
    stand_in("causal_conv1d", causal_conv1d_fn=convolution, causal_conv1d_update=None)
    stand_in("mamba_ssm.ops.triton.layernorm_gated", RMSNorm=GatedNorm)
    stand_in("mamba_ssm.distributed.tensor_parallel", ColumnParallelLinear=None, RowParallelLinear=None)
    stand_in("mamba_ssm.distributed.distributed_utils", all_reduce=None, reduce_scatter=None)
    stand_in("mamba_ssm.ops.triton.ssd_combined", mamba_chunk_scan_combined=scan, mamba_split_conv1d_scan_combined=None)
    spec = importlib.util.spec_from_file_location("hybrid_mamba_layer", source / "mamba2" / "hybrid_mamba_layer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Mamba2


class Mixer(nn.Module):
    """Called as attention is."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        return self.mixer(hidden_states), None


class Hybrid(nn.Module):
    """Phi, some of whose layers have `mamba` in place of `self_attn`, as a checkpoint of theirs names it."""

    def __init__(self, mixer: Any, interval: int) -> None:
        super().__init__()
        sizes = {"hidden_size": DIM, "num_hidden_layers": 8, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS}
        rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.4}
        config = PhiConfig(vocab_size=96, intermediate_size=48, rope_parameters=rope, attn_implementation="eager", use_cache=False, **sizes)
        phi = PhiForCausalLM(config)
        state = DIM // HEADS
        for layer in list(phi.model.layers)[interval - 1 :: interval]:
            made = mixer(DIM, d_xb=KV_HEADS * state, d_inner=DIM, d_state=state, headdim=state, ngroups=HEADS, expand=1, bias=True)
            layer.mamba = made
            del layer.self_attn
            object.__setattr__(layer, "self_attn", Mixer(made))
        self.model, self.lm_head, self.phi = phi.model, phi.lm_head, (phi,)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.phi[0](inputs_embeds=embeddings).logits
        return logits


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["embeddings"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    mixer = authors_mixer(Path(parser.parse_args().source))
    points = [{"embeddings": Draw((n, t, DIM)), "attention_mask": Draw((n, t), "int64", 1, 2)} for n, t in ((2, 40), (3, 7))]
    for variant, interval in (("phi_2_eighth", 8), ("phi_2_quarter", 4), ("phi_2_half", 2)):
        table = ["*embed_tokens.weight"]
        options: dict[str, Any] = {"scales": [Scale("*.D", 1, 0.5)], "own": table, "unused": table, "config": {"every": True}}
        write(SPEC, variant, Hybrid(mixer, interval), points, run, reference=REFERENCE, variant=variant, small=True, **options)
