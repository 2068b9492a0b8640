"""Attention with graph networks of github.com/lamm-mit/Graph-Aware-Transformers. Needs `pip install torch transformers matplotlib`.

`--source` is its folder src/xgpt.
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
from transformers import LlamaConfig

SPARSE = {
    "use_sharpening": True,
    "attention_GIN_MLP_GIN_threshold_mode": "relu",
    "attention_GIN_MLP_GIN_threshold_value": 0.1,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gin": ("LlamaAttentionGIN", {}),
    "gin_sparse": ("LlamaAttentionGIN", SPARSE),
    "pna_authors": ("LlamaAttentionPNA", {}),
}
SIZES = {"small": (16, 2, [(1, 2), (2, 9)]), "whole": (512, 8, [(1, 5)])}
SCALES = [Scale("*epsilon", 0.5, 0.3), Scale("sharpening*", 1.5, 0.3), Scale("[qk]_proj.weight", 0, 0.4)]


def config(dim: int, heads: int, options: dict[str, Any]) -> LlamaConfig:
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    found = LlamaConfig(hidden_size=dim, num_attention_heads=heads, num_key_value_heads=heads, rope_parameters=rope)
    found.gnn_config = SimpleNamespace(
        N_GNN_from_attention_layers=1, attention_GIN_MLP_use_scoring_fnct=False, attention_GIN_MLP_GIN_use_softmax=True,
        plot_for_debugging=False, **options,
    )  # fmt: skip
    return found


def run(model: Any, inputs: Tensors) -> Tensors:
    x = inputs["x"]
    return {"y": model(x, position_ids=torch.arange(x.shape[1])[None])[0]}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    authors = importlib.import_module("Attention_GNN")
    for variant, (kind, options) in VARIANTS.items():
        for size, (dim, heads, shapes) in SIZES.items():
            write(
                "layer/graph_attention", f"{variant}_{size}", getattr(authors, kind)(config(dim, heads, options), layer_idx=0),
                [{"x": Draw((*shape, dim), low=-2, high=2)} for shape in shapes], run,
                reference="github.com/lamm-mit/Graph-Aware-Transformers", variant=variant, small=size == "small",
                scales=SCALES, unused=["residual_epsilon.*", "rmsnorm.weight"],
            )  # fmt: skip


if __name__ == "__main__":
    main()
