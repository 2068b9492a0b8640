"""Write what MoMa's experts compute within Chameleon's decoder. Run by hand, given a checkout of github.com/KempnerInstitute/KempnerForge:

pip install torch transformers && python tests/references/make_moma.py --source PATH

The authors published no code; the experts are KempnerForge's, which follow the paper, and what stands around them is transformers'.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from types import SimpleNamespace
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import Tensor, nn
from transformers import ChameleonConfig
from transformers.models.chameleon.modeling_chameleon import ChameleonDecoderLayer, ChameleonRMSNorm, ChameleonRotaryEmbedding

VOCABULARY, DIM, HIDDEN = 96, 32, 48
CONFIG = ChameleonConfig(
    vocab_size=VOCABULARY, hidden_size=DIM, intermediate_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
    rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 1e4}, attn_implementation="eager",
)  # fmt: skip


class Decoder(nn.Module):
    """Chameleon's, with other networks."""

    def __init__(self, network: Any, groups: dict[str, int]) -> None:
        super().__init__()
        self.embed_tokens, self.norm = nn.Embedding(VOCABULARY, DIM), ChameleonRMSNorm(DIM, eps=1e-5)
        self.layers = nn.ModuleList(ChameleonDecoderLayer(CONFIG, i) for i in range(2))
        sizes = SimpleNamespace(dim=DIM, computed_expert_ffn_hidden_dim=HIDDEN, activation="silu")
        for layer in self.layers:
            layer.mlp = network(sizes, tuple(groups), groups, {name: 1 / count for name, count in groups.items()})
        self.lm_head, self.rotary = nn.Linear(DIM, VOCABULARY, bias=False), ChameleonRotaryEmbedding(CONFIG)

    def forward(self, ids: Tensor, modality: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        angles = self.rotary(x, torch.arange(ids.shape[1])[None])
        mask = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)[None, None]
        for layer in self.layers:
            attended = layer.self_attn(layer.input_layernorm(x), attention_mask=mask, position_embeddings=angles)[0]
            x = x + attended
            x = x + layer.mlp(layer.post_attention_layernorm(x), modality)
        logits: Tensor = self.lm_head(self.norm(x))
        return logits


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["input_ids"], inputs["modality"])}


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    network = importlib.import_module("kempnerforge.model.moma").MoMaFFN
    scales = [Scale("*.gate.weight", 0, 0.5), Scale("*_norm.bias", 0, 0.5)]
    cases = {name: {"text": 4, "image": 4} for name in ("90m_4t4i", "435m_4t4i", "1.4b_4t4i")} | {"90m_3t2i": {"text": 3, "image": 2}}
    for name, groups in cases.items():
        shapes = [(1, 30), (3, 11), (1, 1)]
        points = [{"input_ids": Draw(s, "int64", 0, VOCABULARY), "modality": Draw(s, "int64", 0, 2)} for s in shapes]
        own = {"groups": list(groups.values())} if name == "90m_3t2i" else {}
        write(
            "language/moma", name, Decoder(network, groups), points, run,
            reference="KempnerForge's MoMa in transformers' Chameleon", variant="90m_4t4i" if own else name, small=True,
            config={"every": True} | own, scales=scales,
        )  # fmt: skip
