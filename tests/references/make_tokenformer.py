"""Write what the authors' TokenFormer computes. Run by hand, given a checkout of github.com/Haiyang-W/TokenFormer:

python tests/references/make_tokenformer.py --source PATH

Its layers are run as they are; of what they import, that which needs Megatron, DeepSpeed or a GPU stands here in a plain form.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

SPEC, REFERENCE = "language/tokenformer", "the authors' code"
SCALES = [Scale("*value_param_tokens", 0, 0.25), Scale("*key_param_tokens", 0, 0.5)]
POINTS = [{"input_ids": Draw((2, length), "int64", 0, 96), "attention_mask": Draw((2, length), "int64", 1, 2)} for length in (7, 12)]
SIZES = {"hidden_size": 32, "num_attention_heads": 4, "qkv_slot_num": 24, "proj_slot_num": 24, "ffn_slot_num": 40, "rotary_pct": 0.5}
LAYERS = 2
FORMS = {**dict.fromkeys(("150m", "450m", "1.5b"), "l2_norm_gelu"), "150m-gelu-norm": "gelu_l2_norm", "150m-softmax": "softmax"}


def stub(name: str, **members: Any) -> ModuleType:
    module = sys.modules[name] = ModuleType(name)
    module.__dict__.update(members)
    return module


def imported(source: Path) -> Any:
    """megatron/model/tokenformer.py, with its own norms and rotary embedding, and stand-ins for the rest."""
    mpu = SimpleNamespace(get_model_parallel_world_size=lambda: 1, get_model_parallel_rank=lambda: 0, divide=lambda a, b: a // b)
    stub("megatron", mpu=mpu, __path__=[str(source / "megatron")])
    stub("megatron.model", __path__=[str(source / "megatron" / "model")])
    stub("pkg_resources", packaging=None)
    stub("deepspeed"), stub("deepspeed.moe"), stub("deepspeed.moe.layer", MoE=None)
    stub("flash_attn"), stub("flash_attn.flash_attn_triton", flash_attn_func=None)
    stub("flash_attn.flash_attn_interface", flash_attn_func=None, flash_attn_varlen_func=None)
    stub("megatron.model.fused_layer_norm", MixedFusedLayerNorm=None)
    stub("megatron.model.fused_softmax", FusedScaleMaskSoftmax=None)
    stub("megatron.model.fused_rope", FusedRoPEFunc=None, fused_apply_rotary_pos_emb_cached=None)
    stub("megatron.model.activations", get_activation=None)
    stub("megatron.model.utils", exists=lambda x: x is not None, get_fusion_type=None, configure_sparse_attention=None)
    plain = {f"bias_dropout_add_fused_{mode}": None for mode in ("train", "inference")}
    stub("megatron.model.fused_bias_dropout", get_bias_dropout_add=lambda training: add, **plain)
    return importlib.import_module("megatron.model.tokenformer")


def add(x: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor, prob: float) -> torch.Tensor:
    return x + bias + residual


def attend(self: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """[T, N, heads, width] each, to [N, heads, T, width], as their flash attention."""
    return F.scaled_dot_product_attention(*(x.permute(1, 2, 0, 3) for x in (q, k, v)), is_causal=True)


def arguments(form: str) -> SimpleNamespace:
    common = {"norm": "layernorm_nonparam", "layernorm_epsilon": 1e-5, "precision": "fp32", "pos_emb": "rotary", "rotary_emb_base": 10000}
    off = ("use_mup", "rope_fusion", "bias_dropout_fusion", "apply_query_key_layer_scaling", "rotary_save_freqs_buffer")
    rest = {"seq_length": 64, "params_dtype": torch.float32, "attention_dropout": 0.0, "hidden_dropout": 0.0, "mlp_type": "regular"}
    other = {"attention_softmax_in_fp32": False, "sliding_window_width": None, "norm_activation_type": form}
    return SimpleNamespace(**SIZES, **common, **dict.fromkeys(off, False), **rest, **other)


class Model(nn.Module):
    """Embedding, layers, norm and the embedding again, under the keys of their pipeline."""

    def __init__(self, theirs: Any, form: str) -> None:
        super().__init__()
        self.tied_modules = nn.ModuleDict({"embed": nn.ModuleDict({"word_embeddings": nn.Embedding(96, SIZES["hidden_size"])})})
        for i in range(LAYERS):
            layer = theirs.ParallelTokenformerLayer(arguments(form), None, nn.init.normal_, nn.init.normal_, i, rotary=True)
            self.add_module(str(i + 2), layer)
        self.add_module(str(LAYERS + 3), theirs.NormPipe(nn.LayerNorm, SIZES["hidden_size"], eps=1e-5))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        words = self.tied_modules["embed"]["word_embeddings"]
        x = words(ids).transpose(0, 1)
        for i in range(LAYERS):
            x = self.get_submodule(str(i + 2))(x, None)
        return F.linear(self.get_submodule(str(LAYERS + 3))(x.transpose(0, 1)), words.weight)


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["input_ids"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    theirs = imported(Path(parser.parse_args().source))
    theirs.ParallelSelfAttention.flash_attention = attend
    for variant, form in FORMS.items():
        options: dict[str, Any] = {"variant": variant, "small": True, "config": {"every": True}, "scales": SCALES}
        write(SPEC, f"{variant}_small", Model(theirs, form), POINTS, run, reference=REFERENCE, **options)
