"""The decoder of github.com/VITA-Group/READ-ME, its experts already cut out, and its router. Needs `pip install torch tokenizers==0.15.2
huggingface_hub==0.25.2`; `--source` is a checkout of it, which holds a transformers of its own.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

REFERENCE = "github.com/VITA-Group/READ-ME"
EXPERTS, EXPERT, HIDDEN = 3, 24, 48
SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": HIDDEN,
    "rms_norm_eps": 1e-5, "pad_token_id": None, "use_cache": False, "attn_implementation": "eager",
    "N_cluster": EXPERTS, "embedding_dim": 16, "inter_dim": 16, "add_cluster_predictor": True, "train_predictor": False,
    "hidden_act_predictor": "silu", "max_position_embeddings_predictor": 64, "n_layer": 1, "n_head": 2, "normalizer": 1,
    "nonautoregressive": False,
}  # fmt: skip
PARTS = ("llama-2-7b", "llama-2-7b-apart", "llama-2-7b-router", "llama-2-7b-decoder")


class Given(nn.Module):
    """Their decoder without its router."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        decoder.cluster_predictor = None
        self.model, self.lm_head, self.whole = decoder.model, decoder.lm_head, [decoder]


class Router(nn.Module):
    """Their router without its decoder."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.cluster_predictor = decoder.cluster_predictor


def authors(variant: str) -> Any:
    found = importlib.import_module("transformers.models.llama.modeling_llama")
    config = importlib.import_module("transformers").LlamaConfig(**SIZES)
    model = found.LlamaForCausalLM(config)
    table = model.cluster_predictor.embed.weight
    table.data = table.data.clone()  # theirs starts as a part of the decoder's very table, which loading would then write over
    apart = variant.endswith("apart")
    for layer in model.model.layers:
        layer.moe, layer.mlp = found.LlamaMLP_moe(config, EXPERTS, 8 if apart else 0, EXPERT + 8 if apart else EXPERT, not apart), None
    return Router(model) if variant.endswith("router") else Given(model) if variant.endswith("decoder") else model


def run(model: Any, inputs: Tensors) -> Tensors:
    ids = inputs["input_ids"]
    if isinstance(model, Given):
        return {"logits": model.whole[0](ids, cluster_id=inputs["given"]).logits}
    scores = model.cluster_predictor(ids, torch.arange(ids.shape[1])[None])
    if isinstance(model, Router):
        return {"scores": scores, "choice": scores.argmax(-1)}
    return {"scores": scores, "logits": model(ids).logits}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, str(Path(parser.parse_args().source) / "src"))
    for variant in PARTS:
        given = variant.endswith("decoder")
        points = [
            {"input_ids": Draw(shape, "int64", 0, 96)} | ({"given": Draw(shape, "int64", 0, EXPERTS)} if given else {})
            for shape in ((1, 30), (3, 7))
        ]
        config: dict[str, Any] = {} if variant.endswith("router") else {"every": True}
        config |= {"common": 8} if variant.endswith("apart") else {}
        write(
            "language/read_me", variant, authors(variant), points, run, reference=REFERENCE, variant=variant, small=True, config=config,
            scales=[Scale("cluster_predictor.[qk]_proj_0.weight", 0, 0.4), Scale("cluster_predictor.*.bias", 0, 0.3)],
        )  # fmt: skip


if __name__ == "__main__":
    main()
